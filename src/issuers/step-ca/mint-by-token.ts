import { AgentError } from "../../base/errors.ts";
import { formatInstant } from "../../base/time.ts";
import type { CertificateRequest } from "../../core/ports.ts";
import { createCsr } from "../../x509/csr.ts";
import type { IssuerContext } from "../kind.ts";
import type { StepCaConfig } from "./config.ts";
import { credentialMissing, type Minter, secretsIn } from "./mint.ts";
import { commandFor } from "./operator.ts";
import { clockComplaint } from "./rejection.ts";
import { remoteText } from "./remote-text.ts";
import { type Call, type Reply, type Session } from "./session.ts";
import { signCall, signedChain } from "./sign.ts";
import { grants, readToken, type TokenClaims } from "./token.ts";
import { createVault, type Secret } from "./vault.ts";

const MOST_SPENT = 256;

/** Mints with one-time tokens that were made elsewhere, each for the one spec whose subject and names it carries. */
export function createTokenMinter(config: StepCaConfig, context: IssuerContext): Minter {
  const vault = createVault("token", config.provisioner.secret.source, context);
  /** By their hash: nearly every attempt spends a token, whatever comes of it. */
  const spent = new Set<string>();

  /** Sends a token, once. One that did not come to a connection is not spent. */
  const send = async (session: Session, call: Call, id: string, spoil: () => void): Promise<Reply> => {
    if (spent.size >= MOST_SPENT) spent.delete(spent.values().next().value ?? "");
    spent.add(id);
    let sent = true;
    try {
      const reply = await session.send(call);
      sent = reply.status !== undefined || reply.sent;
      return reply;
    } catch (error) {
      sent = !(error instanceof AgentError);
      throw error;
    } finally {
      if (sent) spoil();
      else spent.delete(id);
    }
  };

  return {
    mint: async (session, { request, key, complain }) => {
      const secrets = await secretsIn(vault, config, request);
      const { secret, claims } = choose(config, request, secrets, spent, vault.place);
      for (const other of secrets) if (other !== secret) other.bytes.fill(0);
      return await vault.use(secret, complain, async (spoil) => {
        const token = secret.bytes.toString("latin1");
        const csr = await createCsr({ ...request, names: claims.spelt }, key);
        const call = signCall(request, csr, () => Promise.resolve(token));
        const reply = await send(session, call, secret.id, spoil);
        if (reply.status !== 401) return signedChain(session, call, reply);
        throw explain(session.errorOf(call, reply), claims, session, commandFor(config, request));
      });
    },
    isHolding: vault.isHolding,
    clear: vault.clear,
  };
}

/** The first token in hand that grants the request and was not sent yet; else says whose token is there. */
function choose(
  config: StepCaConfig,
  request: CertificateRequest,
  secrets: readonly Secret[],
  spent: ReadonlySet<string>,
  place: string,
): { readonly secret: Secret; readonly claims: TokenClaims } {
  let fact: string | undefined;
  for (const secret of secrets) {
    const claims = readToken(secret.bytes.toString("latin1"));
    if (claims !== undefined && grants(claims, request) && !spent.has(secret.id)) return { secret, claims };
    fact ??= `the token in ${place} ${objection(claims, spent.has(secret.id))}`;
  }
  for (const { bytes } of secrets) bytes.fill(0);
  throw credentialMissing(config, request, fact ?? `there is no token in ${place}`);
}

function objection(claims: TokenClaims | undefined, wasSent: boolean): string {
  if (claims === undefined) return "is no token";
  if (wasSent) return "was used already";
  const names = claims.names.map(({ value }) => value).join(", ");
  return `is for ${remoteText(`"${claims.subject}" with the names ${names}`)}`;
}

/** All 401 look the same from here: what can be told is told. */
function explain(error: AgentError, claims: TokenClaims, session: Session, command: string): AgentError {
  const { expiresAt } = claims;
  const expired = expiresAt !== undefined && expiresAt < session.now();
  const cause = expired
    ? `the token expired at ${formatInstant(expiresAt)}`
    : "it was used before, or the CA was restarted or reloaded since it was made, or it has no such provisioner";
  const facts = [clockComplaint(session.skew()), cause].filter((fact) => fact !== undefined);
  return new AgentError(error.code, error.message, {
    cause: error,
    hint: `${facts.join("; ")}; make a new one: ${command}`,
  });
}
