import { hash } from "node:crypto";
import type { CryptoKey, JWK } from "jose";
import * as z from "zod";
import { AgentError } from "../../base/errors.ts";
import { findProvisioner } from "./provisioners.ts";
import type { Session } from "./session.ts";

/** The provisioner's private key, ready to sign tokens, and not to be exported. */
export interface SigningKey {
  readonly key: CryptoKey;
  /** What the CA knows it by (`kid`). */
  readonly id: string;
  readonly algorithm: string;
}

/** What step-ca and `step` write, now and before; the rounds are what the CA says, and are remote input. */
const JWE_LIMITS = {
  keyManagementAlgorithms: ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"],
  contentEncryptionAlgorithms: ["A128GCM", "A192GCM", "A256GCM"],
  maxPBES2Count: 10_000_000,
  maxDecompressedLength: 0,
} as const;

const privateJwk = z.looseObject({
  kty: z.enum(["EC", "OKP", "RSA"]),
  crv: z.string().optional(),
  alg: z.string().optional(),
  kid: z.string().optional(),
  d: z.string().min(1),
});
type PrivateJwk = z.output<typeof privateJwk>;

/**
 * The provisioner's key that the CA hands out encrypted, opened by its password. Throws `ISSUER_REJECTED` where the CA
 * has no such provisioner or key, and `CREDENTIAL_MISSING` where the password is not the one.
 */
export async function unlockSigningKey(
  session: Session,
  name: string,
  password: Buffer,
  place: string,
): Promise<SigningKey> {
  const { kid, encryptedKey } = await findProvisioner(session, name);
  if (encryptedKey === undefined || kid === undefined) {
    throw new AgentError(
      "ISSUER_REJECTED",
      `Cannot use the provisioner "${name}": the CA keeps no encrypted key for it`,
      {
        hint: "use the provisioner's `key`, or a `token`, instead of its password",
      },
    );
  }
  const jwk = await decrypt(encryptedKey, name, password, place);
  try {
    return { ...(await importSigningKey(jwk, "the CA's list")), id: kid };
  } finally {
    jwk.fill(0);
  }
}

async function decrypt(encryptedKey: string, name: string, password: Buffer, place: string): Promise<Uint8Array> {
  const { compactDecrypt } = await import("jose/jwe/compact/decrypt");
  const { keyManagementAlgorithms, contentEncryptionAlgorithms, ...limits } = JWE_LIMITS;
  try {
    const options = {
      ...limits,
      keyManagementAlgorithms: [...keyManagementAlgorithms],
      contentEncryptionAlgorithms: [...contentEncryptionAlgorithms],
    };
    return (await compactDecrypt(encryptedKey, password, options)).plaintext;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code === "ERR_JWE_DECRYPTION_FAILED") {
      throw new AgentError(
        "CREDENTIAL_MISSING",
        `Cannot mint: the password in ${place} does not open the key of the provisioner "${name}"`,
        { hint: "put that provisioner's password there; it is read again at the next attempt" },
      );
    }
    throw new AgentError(
      "ISSUER_REJECTED",
      `Cannot use the provisioner "${name}": its encrypted key is not what step-ca writes, or asks for more than ${JWE_LIMITS.maxPBES2Count} rounds`,
    );
  }
}

/** With less of an RSA key jose signs nothing. */
const SHORTEST_MODULUS = 2048;

/** A private JWK in JSON. Throws `CREDENTIAL_MISSING`; nothing of what was read is ever quoted. */
export async function importSigningKey(json: Uint8Array, place: string): Promise<SigningKey> {
  const jwk = parseJwk(json, place);
  const algorithm = algorithmOf(jwk);
  const { importJWK } = await import("jose/key/import");
  const imported = (importJWK(jwk as JWK, algorithm, { extractable: false }) as Promise<CryptoKey>).catch(() => {
    throw unusable(place, "it is damaged, or of a kind that cannot sign");
  });
  const key = await imported;
  const { modulusLength = SHORTEST_MODULUS } = key.algorithm as { readonly modulusLength?: number };
  if (modulusLength < SHORTEST_MODULUS) throw unusable(place, `its ${modulusLength} bits are too few to sign with`);
  return { key, algorithm, id: jwk.kid ?? thumbprint(jwk) };
}

function parseJwk(json: Uint8Array, place: string): PrivateJwk {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(json.buffer, json.byteOffset, json.length).toString("utf8"));
  } catch {
    throw unusable(place, "it is no JSON");
  }
  const encrypted = typeof value === "object" && value !== null && "ciphertext" in value;
  if (encrypted) throw unusable(place, "it is encrypted");
  const parsed = privateJwk.safeParse(value);
  if (!parsed.success) throw unusable(place, "it is no private JWK");
  return parsed.data;
}

function unusable(place: string, fact: string): AgentError {
  return new AgentError(
    "CREDENTIAL_MISSING",
    `Cannot mint: the provisioner's key in ${place} cannot be used: ${fact}`,
    {
      hint: "it is the private JWK, plain; step crypto jwe decrypt < ENCRYPTED_KEY gives it",
    },
  );
}

function algorithmOf({ kty, crv, alg }: PrivateJwk): string {
  if (kty === "EC") return { "P-384": "ES384", "P-521": "ES512" }[crv ?? ""] ?? "ES256";
  if (kty === "OKP") return "EdDSA";
  return alg !== undefined && /^[RP]S(?:256|384|512)$/.test(alg) ? alg : "RS256";
}

/** RFC 7638, as `step` makes its key ids; from public members alone. */
function thumbprint(jwk: PrivateJwk): string {
  const members = { EC: ["crv", "kty", "x", "y"], OKP: ["crv", "kty", "x"], RSA: ["e", "kty", "n"] }[jwk.kty];
  return hash(
    "sha256",
    JSON.stringify(Object.fromEntries(members.map((member) => [member, jwk[member]]))),
    "base64url",
  );
}
