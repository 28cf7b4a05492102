import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  type webcrypto,
} from "node:crypto";
import { CompactEncrypt, CompactSign } from "jose";
import { type Instant, MINUTE, SECOND } from "../base/time.ts";

/** Few, so that a test does not wait; real ones have 600,000. */
const ROUNDS = 1000;

/** Claims that take the place of the usual ones; undefined leaves a claim out. */
export type Claims = Readonly<Record<string, unknown>>;

/** A JWK provisioner with its secrets. */
export interface Provisioner {
  readonly name: string;
  readonly password: string;
  /** The private JWK in JSON. */
  readonly jwk: string;
  readonly kid: string;
  readonly publicJwk: Readonly<Record<string, unknown>>;
  /** The private JWK under the password, as the CA hands it out. */
  readonly encryptedKey: string;
  readonly publicKey: KeyObject;
  /** A token for `/sign`, valid for five minutes from `now`. */
  token(origin: string, subject: string, names: readonly string[], now: Instant, claims?: Claims): Promise<string>;
}

/** `rounds`: of PBKDF2, over the password. `kept`: the private JWK of one that was made earlier. */
export async function makeProvisioner(
  name: string,
  password: string,
  rounds = ROUNDS,
  kept?: string,
): Promise<Provisioner> {
  const privateKey =
    kept === undefined ? newKey() : createPrivateKey({ key: JSON.parse(kept) as webcrypto.JsonWebKey, format: "jwk" });
  const publicKey = createPublicKey(privateKey);
  const { crv, kty, x, y } = publicKey.export({ format: "jwk" });
  // RFC 7638: the members in this order.
  const kid = createHash("sha256").update(JSON.stringify({ crv, kty, x, y })).digest("base64url");
  const publicJwk = { use: "sig", kty, kid, crv, alg: "ES256", x, y };
  const jwk = JSON.stringify({ ...publicJwk, d: privateKey.export({ format: "jwk" }).d });
  const encryptedKey = await new CompactEncrypt(Buffer.from(jwk))
    .setProtectedHeader({ alg: "PBES2-HS256+A128KW", cty: "jwk+json", enc: "A256GCM" })
    .setKeyManagementParameters({ p2c: rounds })
    .encrypt(Buffer.from(password));

  const token: Provisioner["token"] = async (origin, subject, names, now, claims = {}) => {
    const iat = Math.floor(now / SECOND);
    const times = { iat, nbf: iat, exp: iat + (5 * MINUTE) / SECOND };
    const usual = {
      iss: name,
      aud: `${origin}/1.0/sign`,
      sub: subject,
      sans: names,
      jti: randomBytes(16).toString("hex"),
    };
    const payload = Buffer.from(JSON.stringify({ ...usual, ...times, ...claims }));
    return await new CompactSign(payload).setProtectedHeader({ alg: "ES256", kid, typ: "JWT" }).sign(privateKey);
  };
  return { name, password, jwk, kid, publicJwk, encryptedKey, publicKey, token };
}

function newKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}
