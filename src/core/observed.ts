/** What is known of one managed certificate: all that decisions go by. */
import type { Instant, Milliseconds } from "../base/time.ts";
import type { ApplyFacts } from "./applier.ts";
import type { Facts } from "./facts.ts";
import type { CertificateRequest } from "./ports.ts";
import type { Validity } from "./renewal.ts";

/** The newest generation, as far as decisions need it. */
export interface ObservedGeneration {
  readonly number: number;
  readonly request: CertificateRequest;
  readonly fingerprint: string;
  readonly serial: string;
  readonly key: string;
  readonly notBefore: Instant;
  readonly notAfter: Instant;
  /** The earliest expiry in the chain. */
  readonly chainNotAfter: Instant;
  readonly issuedAt: Instant;
}

/** What an operator asked for: kept until it is done, or the agent restarts. */
export interface Wish {
  readonly since: Instant;
  /** Whether it was tried already: the first try ignores the back-off, the others keep to it. */
  readonly attempted: boolean;
}

export interface Observed {
  readonly generation: ObservedGeneration | null;
  /** The one at the outputs, which may be an older one; null where none is, or nobody has it any more. */
  readonly deployed: ObservedGeneration | null;
  /** The one that a service refused, while what is deployed was renewed as it is; null where none was, or it is gone. */
  readonly refused: ObservedGeneration | null;
  readonly apply: ApplyFacts;
  readonly facts: Facts;
  readonly wish: Wish | null;
  /** How long the clock has been older than the newest record, by monotonic time; null where it is not. */
  readonly clockSuspectFor: Milliseconds | null;
  /** When the obstacle at the outputs was first seen; null where there is none. */
  readonly obstacleSince: Instant | null;
  /** When the outputs are looked at again at the earliest, where nobody asks for it. */
  readonly nextLook: Instant;
  /** Whether the pair at the outputs was looked at for this spec and did not fit. */
  readonly adoptionRefused: boolean;
  /** Whether the issuer is being asked by as many others as may at one time. */
  readonly isIssuerBusy: boolean;
  /** Whether the spec is authorised by another spec's certificate and that has changed since the last issue. */
  readonly credentialChanged: boolean;
}

/** The dates of a generation that decisions go by. */
export function validityOf(generation: ObservedGeneration): Validity {
  return { notBefore: generation.notBefore, notAfter: generation.chainNotAfter };
}
