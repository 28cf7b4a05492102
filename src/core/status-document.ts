/**
 * What `status` and `plan` show, in the shapes that `--json` promises: fields are added, never renamed or dropped. Times
 * are RFC 3339 in UTC.
 */
import type { ErrorCode } from "../base/errors.ts";
import type { OutputState } from "./applier.ts";

/** Who writes outputs and reloads services: the agent's own process, or another one. */
export const APPLY_MODES = ["direct", "broker"] as const;
export type ApplyMode = (typeof APPLY_MODES)[number];

export const STATES = [
  "pending",
  "current",
  "unproven",
  "renewing",
  "failing",
  "expired",
  "paused",
  "invalid",
] as const;
export type State = (typeof STATES)[number];

export interface StatusFailure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | null;
  readonly since: string;
  readonly attempts: number;
  readonly retry_at: string | null;
}

export interface CertificateStatus {
  readonly name: string;
  readonly spec: string;
  readonly issuer: string | null;
  readonly subject: string | null;
  readonly sans: readonly string[];
  readonly state: State;
  readonly because: string;
  /** The newest generation that is deployed. */
  readonly leaf: {
    readonly generation: number;
    readonly fingerprint: string;
    readonly serial: string;
    readonly key: string;
    readonly not_before: string;
    readonly not_after: string;
  } | null;
  readonly next: { readonly action: string; readonly at: string; readonly because: string } | null;
  readonly outputs: readonly { readonly path: string; readonly format: string; readonly state: OutputState }[];
  readonly services: readonly {
    readonly type: string;
    readonly state: "proven" | "unproven";
    readonly at: string | null;
    readonly address: string | null;
    readonly fingerprint: string | null;
  }[];
  readonly failure: StatusFailure | null;
}

export interface StatusDocument {
  readonly agent: {
    readonly running: boolean;
    readonly pid: number | null;
    readonly version: string;
    readonly since: string | null;
    readonly apply: ApplyMode | null;
  };
  /** What has to be mended of the configuration and the folder of specs as a whole, a line each; a spec's own is with it. */
  readonly problems?: readonly string[] | undefined;
  readonly certificates: readonly CertificateStatus[];
}

export interface PlannedCertificate {
  readonly name: string;
  readonly action: string;
  readonly because: string;
  readonly at: string | null;
  readonly steps: readonly string[];
}

export interface PlanDocument {
  readonly certificates: readonly PlannedCertificate[];
}

/** How a renewal that was asked for by name ended. */
export interface RenewOutcome {
  readonly name: string;
  /** Renewed, and in force. */
  readonly ok: boolean;
  /** Whether the new certificate is in the files, proven or not; an older agent does not tell. */
  readonly renewed?: boolean | undefined;
  readonly state: State;
  readonly message: string;
  readonly hint: string | null;
}
