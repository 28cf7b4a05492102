import { formatInstant, type Instant } from "../base/time.ts";
import { type Certificate, displayName, issued } from "./certificate.ts";
import { violatedConstraint } from "./name-constraints.ts";

/** Leaf first, then intermediates. */
export type Chain = readonly [Certificate, ...Certificate[]];

/** Why something cannot be used: the fact, and what to do about it where there is something to do. */
export interface Fault {
  readonly fact: string;
  readonly hint?: string;
}

/** When the first certificate of a chain ends: the lifetime of a chain counts to there. */
export function earliestExpiry(chain: Chain): Instant {
  return Math.min(...chain.map((certificate) => certificate.notAfter));
}

/**
 * Finds the way from the leaf to one of `roots` that is valid at `at`, in the order in which it is to be served (RFC 5280, 6.1: signatures, dates, authority,
 * path length, name constraints, critical extensions; also no weak key or digest). Of several ways the longest is
 * taken: a CA sends a cross-signed root for clients that know only the old one. Self-signed certificates are left out,
 * since a client trusts its own copy of them or none, and so is everything that is not on the way.
 */
export function arrangeChain(chain: Chain, roots: readonly Certificate[], at: Instant): Chain | Fault {
  const [leaf, ...others] = chain;
  const paths = pathsFrom([leaf], others, roots).toSorted((a, b) => b.links.length - a.links.length);
  const faults: Fault[] = [];
  for (const path of paths) {
    const fault = faultOf(path, at);
    if (fault === null) return path.links;
    faults.push(fault);
  }
  return faults[0] ?? explainMissingPath(chain, roots);
}

/** A certificate that issued none of the others, directly or through one more: no honest CA sends such a thing. */
export function strayFault([leaf, ...others]: Chain): Fault | null {
  const related = [leaf];
  // The list grows while it is walked: issuers of issuers come in behind.
  for (const child of related) {
    related.push(...others.filter((other) => !related.includes(other) && issued(child, other)));
  }
  const stray = others.find((other) => !related.includes(other));
  if (stray === undefined) return null;
  const maySign = stray.keyUsages?.includes("keyCertSign") !== false;
  return {
    fact: `"${displayName(stray)}" is there, which ${maySign ? "issued none of the others" : "may not sign certificates"}`,
  };
}

interface Path {
  readonly links: Chain;
  /** The root that issued the last link, or the last link itself where an intermediate is pinned. */
  readonly anchor: Certificate;
}

/** All ways from the last of `links` to a root. No key is passed twice, so cross-signing cannot make a circle. */
function pathsFrom(links: Chain, pool: readonly Certificate[], roots: readonly Certificate[]): readonly Path[] {
  const last = links.at(-1) ?? links[0];
  const further = pool.filter(
    (next) => !links.some((link) => isSameAuthority(link, next)) && issued(last, next) && !issued(next, next),
  );
  const anchors = roots.filter((root) => root.fingerprint === last.fingerprint || issued(last, root));
  return [
    ...further.flatMap((next) => pathsFrom([...links, next], pool, roots)),
    ...anchors.map((anchor) => ({ links, anchor })),
  ];
}

function isSameAuthority(a: Certificate, b: Certificate): boolean {
  return a.keyId === b.keyId && Buffer.compare(a.subjectDer, b.subjectDer) === 0;
}

function faultOf({ links, anchor }: Path, at: Instant): Fault | null {
  // The anchor may have been read apart from the link that it is.
  const isAnchor = ({ fingerprint }: Certificate): boolean => fingerprint === anchor.fingerprint;
  const whole = links.some(isAnchor) ? links : [...links, anchor];
  for (const [depth, certificate] of whole.entries()) {
    const fault = faultOfOne(certificate, at) ?? (depth === 0 ? null : faultOfAuthority(whole, depth));
    if (fault !== null) return fault;
    if (!isAnchor(certificate) && certificate.weakSignature) {
      return {
        fact: `"${displayName(certificate)}" is signed with ${certificate.signatureAlgorithm}, which can be forged`,
      };
    }
  }
  return null;
}

function faultOfOne(certificate: Certificate, at: Instant): Fault | null {
  const { notBefore, notAfter, criticalUnknown } = certificate;
  const name = `"${displayName(certificate)}"`;
  if (at < notBefore) return { fact: `${name} begins only at ${formatInstant(notBefore)}`, hint: CLOCK_HINT };
  if (at > notAfter) return { fact: `${name} expired at ${formatInstant(notAfter)}`, hint: CLOCK_HINT };
  if (certificate.weakKey) return { fact: `${name} has a weak key (${certificate.keyLabel})` };
  if (criticalUnknown.length === 0) return null;
  return { fact: `${name} has a critical extension that is not understood (${criticalUnknown.join(", ")})` };
}

const CLOCK_HINT = "compare this host's clock with the CA's; if both are right, the CA needs a new certificate";

/** Whether `whole[depth]` may have issued what is below it. */
function faultOfAuthority(whole: readonly Certificate[], depth: number): Fault | null {
  const authority = whole[depth];
  if (authority === undefined) return null;
  const name = `"${displayName(authority)}"`;
  if (!authority.isAuthority) return { fact: `${name} is no CA and signed another certificate` };
  const below = whole.slice(0, depth).filter((certificate, index) => index === 0 || !certificate.selfIssued);
  if (authority.pathLength !== null && below.length - 1 > authority.pathLength) {
    return { fact: `${name} allows ${authority.pathLength} intermediates below it, and there are ${below.length - 1}` };
  }
  for (const certificate of below) {
    const violated = violation(authority, certificate);
    if (violated !== null) return { fact: `${name} may not issue for ${violated} (name constraints)` };
  }
  return null;
}

function violation(authority: Certificate, certificate: Certificate): string | null {
  if (authority.nameConstraints === null) return null;
  try {
    return violatedConstraint(authority.nameConstraints, certificate);
  } catch {
    return "anything, as they are unreadable";
  }
}

/** Says where the way to a root ends, for an operator who has to find out which certificate is missing or wrong. */
function explainMissingPath(chain: Chain, roots: readonly Certificate[]): Fault {
  const walked: Certificate[] = [chain[0]];
  for (const child of walked) {
    const next = chain.find((other) => !walked.includes(other) && !issued(other, other) && issued(child, other));
    if (next !== undefined) walked.push(next);
  }
  const last = walked.at(-1) ?? chain[0];
  const namesake = roots.find((root) => root.subjectName === last.issuerName);
  if (namesake !== undefined) {
    return {
      fact: `"${displayName(last)}" names the pinned root "${namesake.subjectName}" as its issuer, which has another key or may not sign`,
      hint: "if the CA was set up anew, pin its new root",
    };
  }
  return {
    fact: `it ends at "${displayName(last)}", whose issuer "${last.issuerName}" is neither in the chain nor a pinned root`,
    hint: "the CA must send its intermediates; if its root has changed, pin the new one",
  };
}
