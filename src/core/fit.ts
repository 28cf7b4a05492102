import { AgentError } from "../base/errors.ts";
import { printable, shortened } from "../base/printable.ts";
import { formatInstant, type Instant, MINUTE } from "../base/time.ts";
import { allowsUsage, type Certificate, displayName, USAGES } from "../x509/certificate.ts";
import { arrangeChain, type Chain, type Fault, strayFault } from "../x509/chain.ts";
import { matches, type PrivateKey } from "../x509/key.ts";
import { formatName, type Name } from "../x509/name.ts";
import type { CertificateRequest } from "./ports.ts";

/** How far the CA's clock may be ahead of this host's. */
const CLOCK_SKEW = 5 * MINUTE;
/** A certificate may hold thousands of names; what is said of it goes into the journal, the state and every status. */
const LONGEST_FACT = 512;

const NAMES_CHANGED =
  "the CA's template gives other names than were asked for: change that, or the spec's subject and sans";
const CLOCKS = "compare this host's clock with the CA's";
const AT_THE_CA = "the fault is the CA's, or somebody answers in its place";
const UNFIT_TEMPLATE = "the CA's template makes it so: change that";

/** A pair, what was asked for, and what it must chain to. */
export interface Fitting {
  readonly request: Pick<CertificateRequest, "subject" | "names" | "usages" | "key">;
  readonly key: Pick<PrivateKey, "keyId" | "algorithm">;
  readonly chain: Chain;
  readonly roots: readonly Certificate[];
  readonly now: Instant;
}

export interface Judgement extends Fitting {
  /** The leaf that this one replaces. */
  readonly previous?: Certificate | undefined;
}

type Check<T> = (fitting: T) => Fault | null;

/** What is asked of every pair. The first finding wins. */
const CHECKS: readonly Check<Fitting>[] = [checkKey, checkNames, checkCommonName, checkUsages, checkLeaf];
/** What is asked of a CA's answer besides, before its chain is looked at. */
const ANSWER_CHECKS: readonly Check<Judgement>[] = [
  checkLifetime,
  checkProgress,
  checkNotAlone,
  ({ chain }) => strayFault(chain),
];

/**
 * Whether a CA's answer may replace what is there. Returns the chain to store and serve: in order, without doubles,
 * without a root. Throws `CHAIN_UNUSABLE` with the first finding.
 */
export function judgeChain(answer: Judgement): Chain {
  const chain = leafFirst(answer);
  const judgement = { ...answer, chain };
  const finding = firstFault(CHECKS, judgement) ?? firstFault(ANSWER_CHECKS, judgement);
  if (finding !== null) throw unusable(chain, finding);
  const arranged = arrange(judgement, begunBy(chain, answer.now));
  if ("fact" in arranged) throw unusable(chain, arranged);
  return arranged;
}

/**
 * The instant at which a CA's answer is judged: what begins within the skew, at its beginning, since this host's clock may
 * be a little behind.
 */
export function begunBy(chain: readonly Certificate[], now: Instant): Instant {
  return Math.max(now, ...chain.map(({ notBefore }) => notBefore).filter((notBefore) => notBefore <= now + CLOCK_SKEW));
}

/**
 * The chain of a pair that was found on the host, in order, where the pair fits a spec, else what does not fit. Asked
 * for is what a renewal of it needs to be accepted, so that adoption never leads into a renewal that is refused for
 * ever. It need not have half of its lifetime left, since it is renewed at once then; and a file that serves well may
 * hold certificates that do not belong to it.
 */
export function chainToAdopt(pair: Fitting): Chain | Fault {
  const { request, key, now } = pair;
  if (request.key !== null && key.algorithm !== request.key) {
    return { fact: `its key is ${key.algorithm === "other" ? "of another kind" : key.algorithm}, not ${request.key}` };
  }
  const fitting = { ...pair, chain: leafFirst(pair) };
  const found = firstFault(CHECKS, fitting) ?? arrange(fitting, now);
  return "fact" in found ? { ...found, fact: shortened(found.fact, LONGEST_FACT) } : found;
}

/** What a renewal of a leaf is asked for: all that the leaf says, whatever the spec says by now. */
export function requestOf(leaf: Certificate): Fitting["request"] {
  const usages = USAGES.filter((usage) => allowsUsage(leaf, usage));
  return { subject: leaf.subject, names: leaf.names, usages, key: leaf.key === "other" ? null : leaf.key };
}

/** Some CAs and many files have the order wrong: the leaf is the one of our key. */
function leafFirst({ key, chain }: Pick<Fitting, "key" | "chain">): Chain {
  const leaf = chain.find((certificate) => matches(key, certificate));
  return leaf === undefined ? chain : [leaf, ...chain.filter(({ fingerprint }) => fingerprint !== leaf.fingerprint)];
}

function firstFault<T>(checks: readonly Check<T>[], fitting: T): Fault | null {
  for (const check of checks) {
    const fault = check(fitting);
    if (fault !== null) return fault;
  }
  return null;
}

function unusable([leaf]: Chain, { fact, hint }: Fault): AgentError {
  const [name, said] = [displayName(leaf), fact].map((text) => shortened(text, LONGEST_FACT));
  return new AgentError("CHAIN_UNUSABLE", `Cannot use the certificate for "${name}": ${said}`, {
    hint: hint ?? AT_THE_CA,
  });
}

function checkKey({ key, chain: [leaf] }: Fitting): Fault | null {
  return matches(key, leaf) ? null : { fact: "it is for another key" };
}

function checkNames({ request, chain: [leaf] }: Fitting): Fault | null {
  const missing = without(request.names, leaf.names).map(formatName);
  const added = [...without(leaf.names, request.names).map(formatName), ...leaf.otherNames];
  const parts = [
    ...(missing.length > 0 ? [`lacks ${missing.join(", ")}`] : []),
    ...(added.length > 0 ? [`also names ${added.join(", ")}`] : []),
  ];
  return parts.length === 0 ? null : { fact: `it ${parts.join(" and ")}`, hint: NAMES_CHANGED };
}

function without(names: readonly Name[], others: readonly Name[]): readonly Name[] {
  return names.filter((name) => !others.some((other) => other.type === name.type && other.value === name.value));
}

/** ACME CAs choose any of the names as common name, or none: one that stands among the names adds nothing. */
function checkCommonName({ request, chain: [leaf] }: Fitting): Fault | null {
  const commonName = leaf.subject.toLowerCase();
  const allowed = [printable(request.subject), ...request.names.map(formatName)].map((name) => name.toLowerCase());
  if (commonName === "" || allowed.includes(commonName)) return null;
  return { fact: `its common name is "${leaf.subject}", not "${request.subject}"`, hint: NAMES_CHANGED };
}

/** More than the spec asks for is fine: CAs' templates decide that. */
function checkUsages({ request, chain: [leaf] }: Fitting): Fault | null {
  const missing = request.usages.filter((usage) => !allowsUsage(leaf, usage));
  if (missing.length === 0) return null;
  return {
    fact: `it is not for ${missing.join(" and ")} use`,
    hint: `the CA's template leaves it out: change that, or the spec's usages`,
  };
}

function checkLeaf({ chain: [leaf] }: Fitting): Fault | null {
  if (leaf.isAuthority) return { fact: "it is a CA", hint: UNFIT_TEMPLATE };
  // Without it no TLS 1.3 handshake can be signed.
  if (leaf.keyUsages?.includes("digitalSignature") === false) {
    return { fact: "its key usage lacks digitalSignature", hint: UNFIT_TEMPLATE };
  }
  return null;
}

/** The path to a root, every intermediate of which allows what the leaf is for. */
function arrange({ chain, roots, request }: Fitting, at: Instant): Chain | Fault {
  const arranged = arrangeChain(chain, roots, at);
  if ("fact" in arranged) return arranged;
  for (const intermediate of arranged.slice(1)) {
    const missing = request.usages.filter((usage) => !allowsUsage(intermediate, usage));
    if (missing.length > 0)
      return { fact: `its issuer "${displayName(intermediate)}" is not for ${missing.join(" and ")} use` };
  }
  return arranged;
}

/** Of its own lifetime, not of the one asked for: a CA may shorten, and answers 24 h with 24 h 1 m. */
function checkLifetime({ chain: [leaf], now }: Judgement): Fault | null {
  const { notBefore, notAfter } = leaf;
  if (notAfter <= notBefore) return { fact: "it ends before it begins" };
  if (notBefore > now + CLOCK_SKEW) {
    return {
      fact: `it begins only at ${formatInstant(notBefore)}, and here it is ${formatInstant(now)}`,
      hint: CLOCKS,
    };
  }
  if (notAfter - now >= (notAfter - notBefore) / 2) return null;
  return {
    fact: `${notAfter <= now ? "it expired" : "less than half of its lifetime is left: it expires"} at ${formatInstant(notAfter)}`,
    hint: "ask for a longer lifetime (step-ca begins every certificate a minute ago), or compare the clocks",
  };
}

/**
 * An answer that is not newer than what is there would be asked for again at once. The end must not come earlier,
 * unless the lifetime has become shorter: then the spec or the CA's policy asked for exactly that. The skew lets a CA
 * set its clock back between two forced renewals.
 */
function checkProgress({ chain: [leaf], previous }: Judgement): Fault | null {
  if (previous === undefined) return null;
  if (leaf.fingerprint === previous.fingerprint) return { fact: "it is the one that is there already" };
  if (leaf.serial === previous.serial && leaf.issuerName === previous.issuerName) {
    return { fact: `it has the serial number of the one that is there already (${leaf.serial})` };
  }
  const shorter = leaf.notAfter - leaf.notBefore < previous.notAfter - previous.notBefore;
  if (shorter || leaf.notAfter >= previous.notAfter - CLOCK_SKEW) return null;
  const fact = `it expires at ${formatInstant(leaf.notAfter)}, before the one that is there already`;
  return { fact, hint: CLOCKS };
}

/** Even where the issuer is pinned: clients know the root, and would not find the way. */
function checkNotAlone({ chain }: Judgement): Fault | null {
  return chain.length > 1 ? null : { fact: "the CA sent it alone, without the chain to its root" };
}
