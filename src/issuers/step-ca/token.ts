import { type KeyObject, randomBytes } from "node:crypto";
import type { CryptoKey } from "jose";
import { type Instant, MINUTE, SECOND } from "../../base/time.ts";
import { type Name, parseName, sameNames } from "../../x509/name.ts";
import type { Identity } from "./connect.ts";
import type { SigningKey } from "./signing-key.ts";

const TOKEN_LIFETIME = 5 * MINUTE;
/** Of JavaScript's dates: a later one has no text. */
const LAST_INSTANT: Instant = 8.64e15;

export interface Grant {
  readonly subject: string;
  readonly names: readonly Name[];
}

/** A token of the provisioner for one `/sign` at `origin`. `now` is the CA's time. */
export function signToken(
  key: SigningKey,
  provisioner: string,
  origin: string,
  grant: Grant,
  now: Instant,
): Promise<string> {
  const header = { alg: key.algorithm, kid: key.id, typ: "JWT" };
  const sans = grant.names.map(({ value }) => value);
  return sign(header, { iss: provisioner, aud: `${origin}/1.0/sign`, sub: grant.subject, sans }, key.key, now);
}

/** A token for one `/renew` at `origin` without mTLS, signed by the certificate's own key. `now` is the CA's time. */
export function renewToken({ key, chain }: Identity, origin: string, now: Instant): Promise<string> {
  const x5cInsecure = chain.map(({ der }) => Buffer.from(der).toString("base64"));
  const header = { alg: algorithmOf(key.keyObject), typ: "JWT", x5cInsecure };
  const claims = { iss: "step-ca-client/1.0", aud: `${origin}/1.0/renew`, sub: chain[0]?.subject ?? "" };
  return sign(header, claims, key.keyObject, now);
}

async function sign(
  header: { readonly alg: string },
  claims: Readonly<Record<string, unknown>>,
  key: CryptoKey | KeyObject,
  now: Instant,
): Promise<string> {
  const { CompactSign } = await import("jose/jws/compact/sign");
  const iat = Math.floor(now / SECOND);
  // Some signatures are the same for the same claims: the random id keeps two tokens of one second apart.
  const jti = randomBytes(16).toString("hex");
  const body = { ...claims, iat, nbf: iat, exp: iat + TOKEN_LIFETIME / SECOND, jti };
  return await new CompactSign(Buffer.from(JSON.stringify(body))).setProtectedHeader(header).sign(key);
}

function algorithmOf({ asymmetricKeyType, asymmetricKeyDetails }: KeyObject): string {
  if (asymmetricKeyType === "ed25519") return "EdDSA";
  if (asymmetricKeyType !== "ec") return "RS256";
  return { secp384r1: "ES384", secp521r1: "ES512" }[asymmetricKeyDetails?.namedCurve ?? ""] ?? "ES256";
}

/** What a token that was made elsewhere says of itself; nothing of it is verified, that is the CA's part. */
export interface TokenClaims extends Grant {
  /** The names as the token spells them: step-ca compares them with those of the request letter by letter. */
  readonly spelt: readonly Name[];
  readonly issuer: string;
  /** Where it may be used, as the CA's URLs. */
  readonly audience: string;
  /** Undefined where it is valid from the start. */
  readonly beginsAt: Instant | undefined;
  /** Undefined where it never ends. */
  readonly expiresAt: Instant | undefined;
}

/** Undefined for what is no token, or carries a name that is none. */
export function readToken(token: string): TokenClaims | undefined {
  try {
    const payload = Buffer.from(token.split(".")[1] ?? "", "base64url").toString("utf8");
    const { sub, sans, iss, aud, nbf, exp } = JSON.parse(payload) as Partial<Record<string, unknown>>;
    if (typeof sub !== "string" || sub === "" || token.split(".").length !== 3) return undefined;
    // step-ca reads a token without names as one for its subject.
    const texts = Array.isArray(sans) && sans.length > 0 ? sans.map(String) : [sub];
    const names = texts.map(parseName).filter((name) => name !== undefined);
    if (names.length < texts.length) return undefined;
    const spelt = names.map((name, index) => ({ ...name, value: spelling(name, texts[index] ?? "") }));
    const [beginsAt, expiresAt] = [nbf, exp].map(instantOf);
    return { subject: sub, names, spelt, issuer: String(iss), audience: String(aud), beginsAt, expiresAt };
  } catch {
    return undefined;
  }
}

/** A NumericDate (RFC 7519, 2); undefined for what is no date, nor was meant as one. */
function instantOf(date: unknown): Instant | undefined {
  return typeof date === "number" && Math.abs(date * SECOND) <= LAST_INSTANT ? date * SECOND : undefined;
}

/** Addresses are compared by what they mean, and what is not ASCII no certificate can hold. */
function spelling({ type, value }: Name, text: string): string {
  return type === "ip" || !/^[\x21-\x7e]+$/.test(text) ? value : text;
}

/** Whether a certificate made by this token is the one that is asked for. */
export function grants(claims: Grant, asked: Grant): boolean {
  return claims.subject === asked.subject && sameNames(claims.names, asked.names);
}
