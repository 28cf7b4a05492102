import type { Draft } from "./authority.ts";
import { provisionerExtension } from "./extension.ts";
import { compareWithToken, newLeaf, readCsr } from "./leaf.ts";
import type { Provisioner } from "./provisioner.ts";
import { badRequest, unauthorized } from "./rejection.ts";
import type { CaState } from "./state.ts";
import { isForAudience, parseToken, timeComplaint, verifySignature } from "./tokens.ts";
import { validityOf } from "./validity.ts";

/** What `/sign` would issue. The order of the checks is step-ca's, since it shows: a token is spent, then verified. */
export async function authorizeSign(state: CaState, body: Readonly<Record<string, unknown>>): Promise<Draft> {
  const csr = await readCsr(body["csr"]);
  const { ott } = body;
  if (typeof ott !== "string" || ott === "") throw badRequest("missing ott");
  const { subject, sans, provisioner } = await authorizeToken(state, ott);
  compareWithToken(csr, subject, sans);
  const validity = validityOf(body, state.policy, state.now());
  return await newLeaf(csr, subject, sans, validity, [provisionerExtension(provisioner.name, provisioner.kid)]);
}

interface Grant {
  readonly subject: string;
  readonly sans: readonly string[];
  readonly provisioner: Provisioner;
}

async function authorizeToken(state: CaState, text: string): Promise<Grant> {
  const token = parseToken(text);
  const { header, claims } = token;
  const provisioner = [...state.provisioners.values()].find(
    ({ name, kid }) => claims.iss === name && header.kid === kid,
  );
  const known = isForAudience(claims.aud, state.names, ["/sign", "/renew", "/revoke"]);
  if (provisioner === undefined || !known) throw unauthorized("provisioner not found or invalid audience");
  const startedAt = Math.floor(state.startedAt / 1000);
  if (typeof claims.iat === "number" && claims.iat < startedAt) {
    throw unauthorized("token issued before the bootstrap of certificate authority");
  }
  state.burn(token);
  await verifySignature(token, provisioner.publicKey);
  const fault = timeComplaint(claims, state.now());
  if (fault !== undefined) throw unauthorized(fault);
  if (!isForAudience(claims.aud, state.names, ["/sign"])) throw unauthorized("invalid jwk token audience claim (aud)");
  const { sub: subject, sans = [] } = claims;
  if (typeof subject !== "string" || subject === "") throw unauthorized("jwk token subject cannot be empty");
  if (!Array.isArray(sans)) throw unauthorized("error parsing claims");
  return { subject, sans: sans.length === 0 ? [subject] : sans.map(String), provisioner };
}
