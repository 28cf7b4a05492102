import { X509Certificate as NodeCertificate } from "node:crypto";
import { X509Certificate } from "@peculiar/x509";
import { type Instant, MINUTE, SECOND } from "../base/time.ts";
import { allowsUsage, type Certificate, issued, parseCertificate } from "../x509/certificate.ts";
import { PROVISIONER_EXTENSION, provisionerName } from "./extension.ts";
import { Rejection, unauthorized } from "./rejection.ts";
import type { CaState } from "./state.ts";
import { isForAudience, parseToken, timeComplaint, verifySignature } from "./tokens.ts";
import { goTime, type Validity } from "./validity.ts";

const INVALID = "error validating renew token";

/** The certificate that a bearer token of `/renew` was made by. Throws 401, or 500 where step-ca does. */
export async function certificateOfBearer(state: CaState, text: string): Promise<Certificate> {
  const token = parseToken(text);
  const { header, claims } = token;
  const chain = chainOf(header.x5cInsecure);
  const [leaf] = chain;
  if (leaf === undefined || !holds(state, chain, leaf.notAfter - MINUTE)) throw unauthorized("chain", INVALID);
  await verifySignature(token, new NodeCertificate(leaf.der).publicKey).catch(() => {
    throw new Rejection(500, "crypto error", INVALID);
  });
  if (provisionerOf(state, leaf) === undefined) throw unauthorized("cannot get provisioner from certificate");
  state.burn(token);
  const fault =
    leaf.subject !== "" && claims.sub !== leaf.subject
      ? "invalid subject claim (sub)"
      : timeComplaint(claims, state.now());
  if (fault !== undefined) throw unauthorized(fault, `${INVALID}: ${fault}`);
  if (!isForAudience(claims.aud, state.names, ["/renew"])) {
    throw new Rejection(500, "audience", `${INVALID}: invalid audience claim (aud)`);
  }
  if (claims.iss !== "step-ca-client/1.0" && claims.iss !== provisionerOf(state, leaf)) {
    throw unauthorized("issuer", `${INVALID}: invalid issuer claim (iss)`);
  }
  return leaf;
}

function chainOf(header: unknown): readonly Certificate[] {
  if (!Array.isArray(header)) throw unauthorized("error extracting x5cInsecure cert chain", INVALID);
  try {
    return header.map((text) => parseCertificate(Buffer.from(String(text), "base64")));
  } catch {
    throw unauthorized("error parsing x5cInsecure token", INVALID);
  }
}

/** Whether a chain leads to a root of this CA with every certificate valid at `at`, and its leaf may be a client's. */
function holds({ roots }: CaState, chain: readonly Certificate[], at: Instant): boolean {
  const [leaf] = chain;
  if (leaf === undefined || !allowsUsage(leaf, "client")) return false;
  const path = [...chain];
  const top = path.at(-1) ?? leaf;
  const root = roots.find(({ certificate }) => issued(top, certificate));
  if (root !== undefined && !top.selfIssued) path.push(root.certificate);
  const known = roots.some(({ certificate }) => certificate.fingerprint === path.at(-1)?.fingerprint);
  const linked = path.every((child, index) => {
    const parent = path[index + 1];
    return parent === undefined || issued(child, parent);
  });
  return known && linked && path.every(({ notBefore, notAfter }) => notBefore <= at && at <= notAfter);
}

/** The checks that every renewal passes, and the dates of the new leaf: the old length, dated back. */
export function authorizeRenewal(state: CaState, leaf: Certificate): Validity {
  const { policy } = state;
  const now = Math.floor(state.now() / SECOND) * SECOND; // step-ca counts in whole seconds here
  if (policy.revoked.has(leaf.serial)) throw unauthorized("certificate has been revoked");
  if (provisionerOf(state, leaf) === undefined) throw unauthorized("provisioner not found");
  if (policy.disableRenewal) throw unauthorized("renew is disabled for provisioner");
  if (now < leaf.notBefore) throw unauthorized("certificate is not yet valid");
  if (now > leaf.notAfter && !policy.allowRenewalAfterExpiry) {
    const told = `The request lacked necessary authorization to be completed: certificate expired on ${goTime(leaf.notAfter)}`;
    throw unauthorized("expired", told);
  }
  const length = leaf.notAfter - leaf.notBefore;
  if (length === policy.backdate) throw new Rejection(500, "createCertificateRequest `lifetime` cannot be 0");
  return { notBefore: now - policy.backdate, notAfter: now + length - policy.backdate };
}

/** The name of the provisioner that a leaf came by, if this CA still has it. */
function provisionerOf({ provisioners }: CaState, leaf: Certificate): string | undefined {
  const extension = new X509Certificate(leaf.der).getExtension(PROVISIONER_EXTENSION);
  const name = extension === null ? undefined : provisionerName(extension.value);
  return name !== undefined && provisioners.has(name) ? name : undefined;
}
