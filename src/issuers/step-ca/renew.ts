import * as z from "zod";
import { formatDuration } from "../../base/duration.ts";
import { AgentError } from "../../base/errors.ts";
import { formatInstant, MINUTE, type Milliseconds } from "../../base/time.ts";
import { allowsUsage, type Certificate, issued, loadCertificates } from "../../x509/certificate.ts";
import type { Chain } from "../../x509/chain.ts";
import type { PrivateKey } from "../../x509/key.ts";
import { parseJson } from "./json.ts";
import { isStranger } from "./rejection.ts";
import { type Answered, type Call, chainOf, isSuccess, otherClock, type Reply, type Session } from "./session.ts";
import { renewToken } from "./token.ts";
import { CLIENT_CERTIFICATE_ALERTS } from "./unreachable.ts";

/** A pair that is to be renewed. */
export interface Pair {
  readonly key: PrivateKey;
  readonly chain: Chain;
}

/**
 * A new leaf for the same key, authorised by the old one over mTLS. Throws `ISSUER_REJECTED` where the CA does not, or
 * cannot, renew it so.
 */
export async function renewOverMtls(session: Session, pair: Pair): Promise<Chain> {
  return await overMtls(session, pair, { action: "renew over mTLS", method: "POST", path: "/renew" });
}

/** A new leaf for the key in `csr`, authorised by the old pair over mTLS. Throws like {@link renewOverMtls}. */
export async function rekeyOverMtls(session: Session, pair: Pair, csr: string): Promise<Chain> {
  const fill = () => Promise.resolve({ body: JSON.stringify({ csr }) });
  return await overMtls(session, pair, { action: "rekey over mTLS", method: "POST", path: "/rekey", fill });
}

async function overMtls(session: Session, { key, chain }: Pair, request: Call): Promise<Chain> {
  const [leaf] = chain;
  requireRenewable(request.action, session, leaf);
  const left = leaf.notAfter - session.now();
  const ends = `it ${left > 0 ? "expires" : "expired"} at ${formatInstant(leaf.notAfter)}`;
  if (left <= marginOf(leaf)) throw refused(request.action, ends);
  const call = { ...request, identity: { key, chain: await presentable(session, chain) } };
  const reply = await session.send(call);
  return renewed(session, call, leaf, reply);
}

/** The CA must still find it valid when it looks: a minute, or less where the whole lifetime is short. */
function marginOf(leaf: Certificate): Milliseconds {
  return Math.min(MINUTE, (leaf.notAfter - leaf.notBefore) / 20);
}

/**
 * A new leaf for the same key where mTLS does not reach the CA, or the old leaf has expired and the CA allows that.
 * Throws like {@link renewOverMtls}.
 */
export async function renewByBearer(session: Session, { key, chain }: Pair): Promise<Chain> {
  const action = "renew by bearer token";
  const [leaf] = chain;
  requireRenewable(action, session, leaf);
  const shown = await presentable(session, chain);
  // step-ca judges the chain at one minute before the leaf's end.
  const outlived = shown.find(({ notAfter }) => notAfter < leaf.notAfter - MINUTE);
  if (leaf.notAfter - leaf.notBefore < MINUTE) throw refused(action, "it lives for less than a minute");
  if (outlived !== undefined)
    throw refused(action, `its intermediate ends first, at ${formatInstant(outlived.notAfter)}`);
  let dated = session.now;
  const fill = async (origin: string) => {
    const token = await renewToken({ key, chain: shown }, origin, dated());
    return { headers: { authorization: `Bearer ${token}` } };
  };
  const identity = session.hidesIdentity ? { key, chain: shown } : undefined;
  const call: Call = { action, method: "POST", path: "/renew", fill, identity };
  const before = session.skew();
  let reply = await session.send(call);
  const other = reply.status === 401 ? otherClock(session, before) : undefined;
  if (other !== undefined) {
    dated = other;
    reply = await session.send(call);
  }
  return renewed(session, call, leaf, reply);
}

function requireRenewable(action: string, { renewedInVain }: Session, leaf: Certificate): void {
  if (renewedInVain) throw refused(action, "the CA would answer with the same");
  if (allowsUsage(leaf, "client")) return;
  throw refused(action, "it is for servers only, and step-ca renews only what may be used by a client");
}

function refused(action: string, fact: string): AgentError {
  return new AgentError("ISSUER_REJECTED", `Cannot ${action}: ${fact}`);
}

/** The chain of a success; throws `CHAIN_UNUSABLE` where it is one that nobody could use, and what else went wrong. */
function renewed(session: Session, call: Call, old: Certificate, reply: Reply): Chain {
  const { action } = call;
  if (reply.status === undefined) {
    if (call.identity === undefined) throw session.errorOf(call, reply);
    const alert = CLIENT_CERTIFICATE_ALERTS.get(reply.alert ?? 0);
    if (alert !== undefined) throw refused(action, alert);
    // Node's TLS server, and many a proxy, close without a word when they do not like a client certificate.
    if (reply.silent) throw refused(action, "the connection was closed without an answer when it was shown");
    throw session.errorOf(call, reply);
  }
  if (!isSuccess(reply)) throw renewalRejected(session, call, old, reply);
  const chain = chainOf(call, reply);
  const [leaf] = chain;
  // A renewal keeps the length and is dated back by a minute: what lived for that long comes back expired.
  // By either clock: `Date` may be the word of a proxy whose clock is wrong, and this host's own may be.
  const length = leaf.notAfter - leaf.notBefore;
  const now = Math.min(session.now(), session.now() - session.skew());
  if (leaf.notAfter - now >= length / 2) return chain;
  session.renewedInVain = true;
  const fact = `the CA answers with one that ends at ${formatInstant(leaf.notAfter)}, of a lifetime of ${formatDuration(length)}`;
  throw new AgentError("CHAIN_UNUSABLE", `Cannot ${action}: ${fact}`, {
    hint: "ask for a lifetime of at least twice the CA's backdate (1 minute by default)",
  });
}

function renewalRejected(session: Session, call: Call, old: Certificate, reply: Answered): AgentError {
  const error = session.errorOf(call, reply);
  session.hidesIdentity ||= call.identity !== undefined && error.message.includes("missing client certificate");
  // A path for rekeying alone may be one that a proxy does not let through.
  if (call.path === "/renew" && isStranger(reply.status)) session.stranger = error;
  const lengthIsBackdate = reply.status === 500 && old.notAfter - old.notBefore <= MINUTE;
  if (lengthIsBackdate) return refused(call.action, "the CA cannot renew what lives for no longer than its backdate");
  if (reply.status !== 401 || error.hint !== undefined) return error;
  const hint = "revoked, or its provisioner was removed, renamed or has disableRenewal; the CA's log says which";
  return new AgentError(error.code, error.message, { cause: error, hint });
}

const intermediates = z.object({ crts: z.array(z.string()).max(10) });

/**
 * The chain to show. Where the leaf outlives its intermediate, or comes without one, the CA may have re-issued that
 * with the same key: then only the new one makes a chain that holds.
 */
async function presentable(session: Session, chain: Chain): Promise<Chain> {
  const [leaf, ...above] = chain;
  if (above.length > 0 && above.every(({ notAfter }) => notAfter >= leaf.notAfter)) return chain;
  const call: Call = { action: "read the intermediates", method: "GET", path: "/intermediates" };
  const reply = await session.send(call);
  if (reply.status === undefined || reply.status >= 500) throw session.errorOf(call, reply);
  try {
    const now = loadCertificates(intermediates.parse(parseJson(reply.body)).crts.join("\n"), "answer");
    const place = now.findIndex((candidate) => candidate.notAfter > session.now() && issued(leaf, candidate));
    return place < 0 ? chain : [leaf, ...now.slice(place)];
  } catch {
    return chain; // CAs before 0.27.3 do not have it
  }
}
