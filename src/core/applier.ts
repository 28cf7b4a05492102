/** What the agent and the root side say to each other, be they one process or two. */
import type { Failure } from "../base/errors.ts";
import type { Instant } from "../base/time.ts";
import type { Chain } from "../x509/chain.ts";
import type { PrivateKey } from "../x509/key.ts";
import type { Liveness, ProbeTarget } from "./ports.ts";

/**
 * `current`: what the generation and the spec say. `stale`: as certagent left it or found it, and not that. `drifted`: changed
 * by others since certagent wrote it. `foreign`: nothing of certagent's. `unknown`: nobody has looked at it yet, or could; the
 * root side never says so.
 */
export const OUTPUT_STATES = ["current", "stale", "missing", "drifted", "foreign", "unknown"] as const;
export type OutputState = (typeof OUTPUT_STATES)[number];

export interface OutputFacts {
  readonly path: string;
  readonly format: string;
  readonly state: OutputState;
  /** What differs, for people: `has mode 0644, the spec says 0640`. Null where current. */
  readonly because: string | null;
}

export interface ServiceFacts {
  readonly type: string;
  readonly liveness: Liveness;
  /** Where to look: the spec's probe, else the address of the service's own configuration; null where there is none. */
  readonly probe: ProbeTarget | null;
  /** Why nobody can look, although whom it shows the certificate is what proves it: no reload is a proof then. */
  readonly unseen?: Failure | undefined;
  /** The last reload that was run for this spec: of which generation, when, how it ended. Null where none was. */
  readonly reloaded: { readonly generation: number; readonly at: Instant; readonly failure: Failure | null } | null;
  /** Until when the certificate is good that it took last: so long it may wait for its window. Null where that is not known. */
  readonly servedUntil: Instant | null;
}

/** What the root side sees of one spec, judged against the newest generation that is staged for it. */
export interface ApplyFacts {
  /** The generation that the outputs were last made true for; null before the first. */
  readonly deployed: number | null;
  readonly outputs: readonly OutputFacts[];
  readonly services: readonly ServiceFacts[];
  /** A pair stands at the outputs that may be adopted, as nothing is deployed yet. */
  readonly adoptable: boolean;
  /** What would make `apply` fail before anything is changed: an unknown owner, a refused path. Costs no issuance. */
  readonly obstacle: Failure | null;
}

/**
 * What became of one service: it was told, had nothing to be told, waits for its maintenance window, did not run or is not
 * installed (its files are placed all the same), was refused by its own check before this change too, or refused the change.
 */
export const SERVICE_OUTCOMES = [
  "reloaded",
  "unchanged",
  "waits",
  "down",
  "absent",
  "broken-before",
  "failed",
] as const;
export type ServiceOutcome = (typeof SERVICE_OUTCOMES)[number];

/** What became of the files as a set. */
export const FILES_OUTCOMES = ["unchanged", "written", "rolled-back", "failed"] as const;

export interface ApplyReport {
  /** The generation that stands at the outputs when the report is made. */
  readonly deployed: number | null;
  readonly files: (typeof FILES_OUTCOMES)[number];
  readonly services: readonly {
    readonly type: string;
    readonly outcome: ServiceOutcome;
    readonly failure: Failure | null;
    readonly note: string | null;
  }[];
  /** Why it failed as a whole; null where all went well or only a service waits. */
  readonly failure: Failure | null;
  /** What was done, in order, one line each, for the journal: `wrote /etc/…`, `made /etc/…/`, `nginx -t`. */
  readonly actions: readonly string[];
  /** Paths of files that others had spoilt, and that were put right. */
  readonly repaired: readonly string[];
}

/** A pair that stood on the host before certagent. */
export interface Adopted {
  readonly key: PrivateKey;
  readonly chain: Chain;
}

/** Of which spec facts are wanted. What else is known of it tells whether an earlier answer is still good. */
export interface Asked {
  readonly name: string;
  /** Of the spec's text, as the asker read it. */
  readonly digest: string;
  /** The newest one that is staged; null where there is none. */
  readonly generation: number | null;
  /** Something happened that no earlier answer can know of. */
  readonly afresh?: boolean | undefined;
}

/**
 * The agent's only way to outputs and services, in one process or in two. It reads configuration, specs and the staged
 * generation by itself; the caller only names a spec. Throws `APPLY_UNREACHABLE` where another process does it, and does
 * not answer.
 */
export interface Applier {
  /** Without those that are no specs in force. */
  observe(asked: readonly Asked[], signal: AbortSignal): Promise<ReadonlyMap<string, ApplyFacts>>;
  /** Until when it answers with what it saw last of a spec; absent where it looks each time. */
  believedUntil?(name: string): Instant | undefined;
  /** The pair at the output paths, where it fits the spec by names, dates and chain. */
  adopt(name: string, signal: AbortSignal): Promise<Adopted | undefined>;
  /**
   * Makes outputs and services true for the newest staged generation. Safe to repeat. `again`: services, by their index
   * in the spec, that took it and were not seen to serve it; where none is named and none waits, all are told once more.
   */
  apply(name: string, signal: AbortSignal, again?: readonly number[]): Promise<ApplyReport>;
  /**
   * Told once a streak in which no certificate can be had, when that begins: runs `hooks.failed`, where that was not run
   * for the failures of the root side that go on.
   */
  failed(name: string, signal: AbortSignal): Promise<void>;
  /** Removes the secret of an issuer that is to be deleted after use, but not one that was put there after `used`. */
  forget(issuer: string, used: Instant, signal: AbortSignal): Promise<void>;
}
