import type { Instant } from "../../src/base/time.ts";
import type { CertificateStatus } from "../../src/core/status-document.ts";
import type { Certificate } from "../../src/x509/certificate.ts";
import type { CaCall } from "./model-ca.ts";
import type { ModelSite } from "./model-host.ts";
import type { KillPoint, Scenario } from "./scenario.ts";

/** How things stood when the agent had come to rest. */
export interface Sample {
  readonly at: Instant;
  readonly statuses: readonly CertificateStatus[];
  /** What the services truly serve, by the name of the spec. */
  readonly served: ReadonlyMap<string, Certificate | undefined>;
}

export interface Death {
  readonly at: Instant;
  readonly point: KillPoint;
  /** How often the CAs had been asked. */
  readonly asked: number;
}

/** Everything that happened, in true time. */
export interface History {
  readonly scenario: Scenario;
  readonly end: Instant;
  /** By the name of the CA. */
  readonly calls: ReadonlyMap<string, readonly CaCall[]>;
  site(name: string): ModelSite;
  readonly samples: readonly Sample[];
  readonly deaths: readonly Death[];
  /** Status and plan before a kill at rest, and what the next life made of the same facts. */
  readonly restarts: readonly { readonly at: Instant; readonly before: string; readonly after: string }[];
  /** What broke the simulation itself: a loop that never sleeps, an agent that threw. */
  readonly crashes: readonly string[];
}
