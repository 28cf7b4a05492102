import { createHash, type KeyObject } from "node:crypto";
import { compactVerify } from "jose";
import { type Instant, MINUTE, SECOND } from "../base/time.ts";
import { unauthorized } from "./rejection.ts";

/** A clock may be off by this much. */
const LEEWAY = MINUTE;

export interface TokenClaims {
  readonly iss?: unknown;
  readonly aud?: unknown;
  readonly sub?: unknown;
  readonly sans?: unknown;
  readonly exp?: unknown;
  readonly nbf?: unknown;
  readonly iat?: unknown;
  readonly jti?: unknown;
}

export interface UnverifiedToken {
  readonly text: string;
  readonly header: { readonly kid?: unknown; readonly x5cInsecure?: unknown };
  readonly claims: TokenClaims;
}

/** Header and claims as they stand. Throws 401 for what is no JWS. */
export function parseToken(text: string): UnverifiedToken {
  try {
    const [header, payload, signature, ...rest] = text.split(".");
    if (signature === undefined || signature === "" || rest.length > 0) throw new Error("not three parts");
    return { text, header: decode(header), claims: decode(payload) };
  } catch {
    throw unauthorized("error parsing token");
  }
}

function decode(part: string | undefined): Record<string, unknown> {
  return JSON.parse(Buffer.from(part ?? "", "base64url").toString("utf8")) as Record<string, unknown>;
}

/** Tokens that were seen, also those that were then refused. */
export function createUsedTokens(): (token: UnverifiedToken) => void {
  const used = new Set<string>();
  return ({ text, claims }) => {
    const { jti } = claims;
    const id = typeof jti === "string" && jti !== "" ? jti : createHash("sha256").update(text).digest("hex");
    if (used.has(id)) throw unauthorized("token already used");
    used.add(id);
  };
}

/** Throws 401 where the signature is not of this key. */
export async function verifySignature({ text }: UnverifiedToken, key: KeyObject): Promise<void> {
  try {
    await compactVerify(text, key);
  } catch {
    throw unauthorized("error in cryptographic primitive");
  }
}

/** The time claims that are there, with a leeway of a minute. Returns what is wrong. */
export function timeComplaint({ exp, nbf, iat }: TokenClaims, now: Instant): string | undefined {
  if ([exp, nbf, iat].some((claim) => claim !== undefined && typeof claim !== "number")) return "error parsing claims";
  if (typeof exp === "number" && now - LEEWAY > exp * SECOND) return "token is expired (exp)";
  if (typeof nbf === "number" && now + LEEWAY < nbf * SECOND) return "token not valid yet (nbf)";
  if (typeof iat === "number" && now + LEEWAY < iat * SECOND) return "token issued in the future (iat)";
  return undefined;
}

/** Whether one of the audiences is `https://NAME[:port]/1.0/ACTION` or `…/ACTION` for a name of the CA. */
export function isForAudience(aud: unknown, names: readonly string[], actions: readonly string[]): boolean {
  return [aud].flat().some((audience) => {
    if (typeof audience !== "string" || !audience.startsWith("https://") || !URL.canParse(audience)) return false;
    const { hostname, pathname, hash } = new URL(audience);
    const named = names.some((name) => name === hostname || `[${name}]` === hostname);
    return named && hash === "" && actions.includes(pathname.replace(/^\/1\.0/, ""));
  });
}
