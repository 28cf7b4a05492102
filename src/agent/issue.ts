import { asAgentError, type Failure, failureOf } from "../base/errors.ts";
import { DEFAULT_KEY, keyAskedFor } from "../core/change.ts";
import { judgeChain } from "../core/fit.ts";
import type { Desired, Generation, Issued, Issuer, Order } from "../core/ports.ts";
import type { Generations } from "../store/generations.ts";
import { generateKey, type PrivateKey } from "../x509/key.ts";

/** What one issuance needs to know. */
export interface IssueOrder {
  readonly desired: Desired;
  /** The newest generation; undefined before the first. */
  readonly current: Generation | undefined;
  /** Whether the CA is asked to renew `current`, or for a new certificate. */
  readonly renewal: boolean;
  /** The number that was deployed last, which new ones must follow. */
  readonly after: number | null;
}

/**
 * Called as soon as the CA has issued, and waited for before its answer is judged: refused answers count for the storm
 * breaker, even if this process does not live to refuse them, and so do answers that are no chain. Told how many there
 * were in this attempt, and the rungs that were tried before.
 */
export type OnIssued = (issuances: number, failedRungs: Issued["failedRungs"]) => Promise<void>;

/**
 * One issuance: a key that is durable before its request leaves the host, the CA's answer judged before anything else,
 * then staged as a new generation, durable when this resolves. Throws what the issuer throws, `CHAIN_UNUSABLE`, or
 * `DEPLOY_FAILED` where the state folder cannot be written.
 */
export async function issue(
  { desired, current, renewal, after }: IssueOrder,
  { issuer, generations, now }: { issuer: Issuer; generations: Generations; now: () => number },
  onIssued: OnIssued,
  signal: AbortSignal,
): Promise<Generation> {
  const asked = await keyFor(desired, current, generations);
  await using _room = await generations.reserve(now());
  const order: Order = { request: desired.request, key: asked, current: renewal ? current : undefined };
  const issued = await issuer.issue(order, signal).catch(async (error: unknown) => {
    const inVain = issuedInVain(rungsOf(error));
    if (inVain > 0) await onIssued(inVain, []);
    throw error;
  });
  await onIssued(1 + issuedInVain(issued.failedRungs), issued.failedRungs);
  const key = issued.keepsKey === true && current !== undefined ? current.key : asked;
  const chain = judgeChain({
    request: desired.request,
    key,
    chain: issued.chain,
    roots: issued.roots,
    previous: current?.chain[0],
    now: now(),
  });
  const { roots, via } = issued;
  return await generations.stage({ request: desired.request, key, chain, roots, via, issuedAt: now() }, after);
}

function rungsOf(error: unknown): readonly Failure[] {
  const { cause } = asAgentError(error);
  return (cause instanceof AggregateError ? cause.errors : [error]).map(failureOf);
}

/** How many of the rungs that failed got an answer of which nobody can make use. */
function issuedInVain(rungs: readonly Failure[]): number {
  return rungs.filter(({ code }) => code === "CHAIN_UNUSABLE").length;
}

/** The key to certify: the one there is, unless it is to be rotated or is of another kind; else a new, durable one. */
async function keyFor(
  { request, rotate }: Desired,
  current: Generation | undefined,
  generations: Generations,
): Promise<PrivateKey> {
  const kind = keyAskedFor(current?.request, request);
  const mayStay = ({ algorithm }: PrivateKey): boolean => (kind === null ? algorithm !== "other" : algorithm === kind);
  if (current !== undefined && !rotate && mayStay(current.key)) return current.key;
  const fresh = kind ?? DEFAULT_KEY;
  // A request with this key may have been answered without the answer arriving: asking again with it loses nothing.
  const pending = await generations.pendingKey();
  if (pending?.algorithm === fresh && pending.keyId !== current?.key.keyId) return pending;
  const key = await generateKey(fresh);
  await generations.keepPendingKey(key);
  return key;
}
