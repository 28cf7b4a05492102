import { AgentError } from "../../base/errors.ts";
import { formatInstant, type Instant } from "../../base/time.ts";
import type { CertificateRequest } from "../../core/ports.ts";
import { createCsr } from "../../x509/csr.ts";
import type { IssuerContext } from "../kind.ts";
import type { StepCaConfig } from "./config.ts";
import { credentialMissing, type Minter, secretsIn, type Wish } from "./mint.ts";
import { commandFor } from "./operator.ts";
import { clockComplaint, MOST_SKEW } from "./rejection.ts";
import { remoteText } from "./remote-text.ts";
import { type Call, type Reply, type Session } from "./session.ts";
import { signCall, signedChain } from "./sign.ts";
import { createSpentTokens } from "./spent-tokens.ts";
import { grants, readToken, type TokenClaims } from "./token.ts";
import { createVault, type Secret } from "./vault.ts";

/** Mints with one-time tokens that were made elsewhere, each for the one spec whose subject and names it carries. */
export function createTokenMinter(config: StepCaConfig, context: IssuerContext): Minter {
  const vault = createVault("token", config.provisioner.secret.source, context);
  const spent = createSpentTokens(context.spentFolder, context.clock.now);

  /** Sends a token, once. One that did not come to a connection is not spent. */
  const send = async (
    session: Session,
    { secret: { id }, claims }: Chosen,
    spoil: () => void,
    make: () => Promise<Call>,
  ): Promise<Sent> => {
    let sent = false;
    const onSend = (): void => {
      sent = true;
    };
    try {
      const call = { ...(await make()), onSend };
      await spent.mark(id, claims.expiresAt);
      return { call, reply: await session.send(call) };
    } finally {
      if (sent) spoil();
      else await spent.release(id);
    }
  };

  /** The first token in hand that grants the request and was not sent yet; else says whose token is there. */
  const choose = async (request: CertificateRequest, complain: Wish["complain"]): Promise<Chosen> => {
    let fact: string | undefined;
    let chosen: Chosen | undefined;
    for (const secret of await secretsIn(vault, config, request)) {
      const claims = readToken(secret.bytes.toString("latin1"));
      const fits = claims !== undefined && grants(claims, request);
      const isFree = chosen === undefined && fits && (await spent.claim(secret.id));
      if (isFree) chosen = { secret, claims };
      else if (fits && chosen === undefined) await vault.use(secret, complain, async (spoil) => spoil());
      else secret.bytes.fill(0);
      fact ??= `the token in ${vault.place} ${objection(claims, fits)}`;
    }
    if (chosen !== undefined) return chosen;
    throw credentialMissing(config, request, fact ?? `there is no token in ${vault.place}`);
  };

  return {
    mint: async (session, { request, key, complain }) => {
      const chosen = await choose(request, complain);
      const { secret, claims } = chosen;
      return await vault.use(secret, complain, async (spoil) => {
        const token = secret.bytes.toString("latin1");
        const { call, reply } = await send(session, chosen, spoil, async () => {
          const csr = await createCsr({ ...request, names: claims.spelt }, key);
          return signCall(request, csr, () => Promise.resolve(token));
        });
        if (reply.status !== 401) return signedChain(session, call, reply);
        const why = whyRefused(claims, config.provisioner.name, session.now(), reply.origin);
        throw explain(session.errorOf(call, reply), why, session, commandFor(config, request));
      });
    },
    isHolding: vault.isHolding,
    clear: vault.clear,
  };
}

interface Sent {
  readonly call: Call;
  readonly reply: Reply;
}

interface Chosen {
  readonly secret: Secret;
  readonly claims: TokenClaims;
}

function objection(claims: TokenClaims | undefined, wasSent: boolean): string {
  if (claims === undefined) return "is no token";
  if (wasSent) return "was used already";
  const names = claims.names.map(({ value }) => value).join(", ");
  return `is for ${remoteText(`"${claims.subject}" with the names ${names}`)}`;
}

/** All 401 look the same from here: what can be told is told. */
function explain(error: AgentError, why: string, session: Session, command: string): AgentError {
  const facts = [clockComplaint(session.skew()), why].filter((fact) => fact !== undefined);
  return new AgentError(error.code, error.message, {
    cause: error,
    hint: `${facts.join("; ")}; make a new one: ${command}`,
  });
}

function whyRefused(claims: TokenClaims, provisioner: string, now: Instant, origin: string): string {
  const { issuer, audience, beginsAt = now, expiresAt = now } = claims;
  if (expiresAt < now) return `the token expired at ${formatInstant(expiresAt)}`;
  if (beginsAt > now + MOST_SKEW) return `the token is valid only from ${formatInstant(beginsAt)}`;
  if (issuer !== provisioner)
    return `the token is ${remoteText(`of the provisioner "${issuer}"`)}, not "${provisioner}"`;
  const isOfThis = audience.toLowerCase().includes(new URL(origin).hostname);
  const elsewhere = isOfThis ? "" : `, or ${remoteText(audience)} is another CA`;
  return `it was used before, or the CA was restarted or reloaded since it was made, or it has no such provisioner${elsewhere}`;
}
