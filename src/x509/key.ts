import { createPrivateKey, createPublicKey, generateKeyPair, hash, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { AgentError } from "../base/errors.ts";
import { remember } from "../base/remember.ts";
import { DER_INTEGER, DER_OCTET_STRING, DerError, readDer, readObjectIdentifier, readSequence } from "./der.ts";
import { decodePem, type PemBlock } from "./pem.ts";

/** Every key that a spec can ask for. */
export const KEY_ALGORITHMS = ["ec-p256", "ec-p384", "ed25519", "rsa-2048", "rsa-3072", "rsa-4096"] as const;
export type KeyAlgorithm = (typeof KEY_ALGORITHMS)[number];

/** A private key that cannot be printed by accident: every way to turn it into text gives `[private key]`. */
export interface PrivateKey {
  readonly algorithm: KeyAlgorithm | "other";
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hex. */
  readonly keyId: string;
  readonly keyObject: KeyObject;
  /** PKCS#8 PEM with a final newline. The one way to get at the bytes. */
  toPem(): string;
  toString(): string;
  toJSON(): string;
}

const HIDDEN = "[private key]";

function privateKey(keyObject: KeyObject): PrivateKey {
  const hide = (): string => HIDDEN;
  let pem: string | undefined;
  const key = {
    algorithm: describeKey(keyObject).algorithm,
    keyId: keyIdOf(createPublicKey(keyObject)),
    keyObject,
    toPem: () => (pem ??= toPkcs8(keyObject)),
    toString: hide,
    toJSON: hide,
    [Symbol.for("nodejs.util.inspect.custom")]: hide,
  };
  return Object.freeze(key);
}

/** OpenSSL reads secret numbers that are longer than it writes. */
function toPkcs8(keyObject: KeyObject): string {
  try {
    return keyObject.export({ type: "pkcs8", format: "pem" });
  } catch {
    throw unusable("its numbers are too long");
  }
}

const generateRsa = promisify(generateKeyPair) as (
  type: "rsa",
  options: { modulusLength: number },
) => Promise<{ privateKey: KeyObject }>;
const generateEc = promisify(generateKeyPair) as (
  type: "ec",
  options: { namedCurve: string },
) => Promise<{ privateKey: KeyObject }>;
const generateEd25519 = promisify(generateKeyPair) as (type: "ed25519") => Promise<{ privateKey: KeyObject }>;

const GENERATORS: Readonly<Record<KeyAlgorithm, () => Promise<{ privateKey: KeyObject }>>> = {
  "ec-p256": () => generateEc("ec", { namedCurve: "prime256v1" }),
  "ec-p384": () => generateEc("ec", { namedCurve: "secp384r1" }),
  ed25519: () => generateEd25519("ed25519"),
  "rsa-2048": () => generateRsa("rsa", { modulusLength: 2048 }),
  "rsa-3072": () => generateRsa("rsa", { modulusLength: 3072 }),
  "rsa-4096": () => generateRsa("rsa", { modulusLength: 4096 }),
};

/** A fresh key, made off the main thread (RSA takes up to seconds). */
export async function generateKey(algorithm: KeyAlgorithm): Promise<PrivateKey> {
  return privateKey((await GENERATORS[algorithm]()).privateKey);
}

const ENCRYPTED = /^(?:-----BEGIN ENCRYPTED PRIVATE KEY-----|Proc-Type: *4,ENCRYPTED)/m;
const ENCODINGS = { "PRIVATE KEY": "pkcs8", "EC PRIVATE KEY": "sec1", "RSA PRIVATE KEY": "pkcs1" } as const;

/**
 * The one private key in a PEM text: PKCS#8, SEC1 or PKCS#1. Certificates and parameters beside it are passed over, so
 * that a `combined` file can be read. Throws `KEY_UNUSABLE`, never quoting what was read.
 */
export function parseKey(pem: string | Uint8Array): PrivateKey {
  if (ENCRYPTED.test(typeof pem === "string" ? pem : Buffer.from(pem).toString("latin1"))) {
    throw new AgentError("KEY_UNUSABLE", "Cannot use the private key: it is encrypted", {
      hint: "store it without a passphrase: openssl pkey -in FILE -out FILE.plain",
    });
  }
  const labels = Object.keys(ENCODINGS);
  const [block, ...others] = decodePem(pem, { labels, policy: "file", code: "KEY_UNUSABLE" });
  if (block === undefined) throw unusable("there is none in the file");
  if (others.length > 0) throw unusable(`there are ${others.length + 1} of them in one file`);
  const digest = `${block.label} ${hash("sha256", block.bytes, "hex")}`;
  const known = keys.get(digest)?.deref();
  const key = known ?? keyIn(block);
  block.bytes.fill(0); // also where it was not read again
  if (known !== undefined) return known;
  remember(keys, MOST_KEYS, digest, new WeakRef(key));
  return key;
}

/** For as long as somebody has it: a key is read by who has it certified and by who deploys it. */
const keys = new Map<string, WeakRef<PrivateKey>>();
const MOST_KEYS = 256;

function keyIn(block: PemBlock): PrivateKey {
  const keyObject = decodeKey(block);
  const { modulusLength = 0 } = keyObject.asymmetricKeyDetails ?? {};
  if (modulusLength > LARGEST_RSA) throw unusable(`${modulusLength} bits are more than ${LARGEST_RSA}`);
  return privateKey(keyObject);
}

/**
 * In bits; what TLS clients take at most (Go's). One signature takes 0.15 s then, and by the third power of that beyond:
 * an hour for what fits into a file.
 */
const LARGEST_RSA = 8192;

/** Keys that can sign: RSA (RFC 8017, 4055), EC (RFC 5480), Ed25519 and Ed448 (RFC 8410). */
const CAN_SIGN: ReadonlySet<string> = new Set([
  "1.2.840.113549.1.1.1",
  "1.2.840.113549.1.1.10",
  "1.2.840.10045.2.1",
  "1.3.101.112",
  "1.3.101.113",
]);

/**
 * Whether OpenSSL may read it. Of DSA and DH it computes the public half while it reads, for half an hour where a key
 * fills the file; and it takes a PKCS#8 key under every label.
 */
function isSigningKey({ label, bytes }: PemBlock): boolean {
  const [, second] = readSequence(readDer(bytes));
  if (label === "RSA PRIVATE KEY") return second?.tag === DER_INTEGER;
  if (label === "EC PRIVATE KEY") return second?.tag === DER_OCTET_STRING;
  return CAN_SIGN.has(readObjectIdentifier(readSequence(second)[0]));
}

function decodeKey(block: PemBlock): KeyObject {
  const type = ENCODINGS[block.label as keyof typeof ENCODINGS];
  try {
    if (!isSigningKey(block)) throw new DerError("it cannot sign");
    const { buffer, byteOffset, length } = block.bytes;
    return createPrivateKey({ key: Buffer.from(buffer, byteOffset, length), format: "der", type });
  } catch {
    // Without its cause: OpenSSL's words add nothing, and may one day quote what they stumbled over.
    throw unusable("its bytes are damaged, or of a kind that cannot sign");
  } finally {
    block.bytes.fill(0);
  }
}

function unusable(fact: string): AgentError {
  return new AgentError("KEY_UNUSABLE", `Cannot use the private key: ${fact}`);
}

/** SHA-256 of the SubjectPublicKeyInfo (RFC 5280, 4.1), lower-case hex. */
export function keyIdOf(publicKey: KeyObject): string {
  return hash("sha256", publicKey.export({ type: "spki", format: "der" }), "hex");
}

/** Whether a certificate is one of this key. */
export function matches(key: Pick<PrivateKey, "keyId">, certificate: { readonly keyId: string }): boolean {
  return key.keyId === certificate.keyId;
}

export interface KeyDescription {
  readonly algorithm: KeyAlgorithm | "other";
  /** For people: `RSA 1024`, `EC prime192v1`, `ed25519`. */
  readonly label: string;
  /** Below what clients take: RSA under 2048 bits, EC under 256, DSA. */
  readonly weak: boolean;
}

const CURVES: Readonly<Record<string, KeyAlgorithm>> = { prime256v1: "ec-p256", secp384r1: "ec-p384" };

/** What kind of key it is, private or public. */
export function describeKey(key: KeyObject): KeyDescription {
  const { modulusLength = 0, namedCurve = "without a name" } = key.asymmetricKeyDetails ?? {};
  switch (key.asymmetricKeyType) {
    case "rsa":
    case "rsa-pss": {
      const name = `${key.asymmetricKeyType}-${modulusLength}`;
      const algorithm = KEY_ALGORITHMS.find((known) => known === name) ?? "other";
      return { algorithm, label: `RSA ${modulusLength}`, weak: modulusLength < 2048 };
    }
    case "ec": {
      const bits = Number(/\d{3}/.exec(namedCurve)?.[0] ?? 0);
      return { algorithm: CURVES[namedCurve] ?? "other", label: `EC ${namedCurve}`, weak: bits < 256 };
    }
    case "ed25519":
      return { algorithm: "ed25519", label: "Ed25519", weak: false };
    default:
      return { algorithm: "other", label: key.asymmetricKeyType ?? "unknown", weak: key.asymmetricKeyType === "dsa" };
  }
}
