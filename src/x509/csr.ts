import { createPublicKey, type webcrypto } from "node:crypto";
import { AgentError } from "../base/errors.ts";
import { USAGE_OIDS, type Usage } from "./certificate.ts";
import type { KeyAlgorithm, PrivateKey } from "./key.ts";
import type { Name } from "./name.ts";

export interface CsrSubject {
  /** Becomes the common name, unless it is longer than a common name may be. */
  readonly subject: string;
  readonly names: readonly Name[];
  readonly usages?: readonly Usage[] | undefined;
}

/** `ub-common-name` (RFC 5280, appendix A): a longer one makes a CSR that strict CAs refuse. */
const LONGEST_COMMON_NAME = 64;

const SAN_TYPES = { dns: "dns", email: "email", ip: "ip", uri: "url" } as const;

/** A PKCS#10 certificate request (RFC 2986) as PEM, signed by `key`. Throws `KEY_UNUSABLE` for a key of type "other". */
export async function createCsr({ subject, names, usages = [] }: CsrSubject, key: PrivateKey): Promise<string> {
  const { signing, ...keys } = cryptoKeys(key);
  // Loaded where a key is certified, and nowhere else: it takes as much memory as the rest of a renewal.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  const extensions: InstanceType<typeof x509.Extension>[] = [
    new x509.SubjectAlternativeNameExtension(names.map(({ type, value }) => ({ type: SAN_TYPES[type], value }))),
  ];
  if (usages.length > 0) extensions.push(new x509.ExtendedKeyUsageExtension(usages.map((usage) => USAGE_OIDS[usage])));
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    // As an object, since text that begins with # would be taken for DER in hex.
    name: new x509.Name(subject.length > LONGEST_COMMON_NAME ? [] : [{ CN: [{ utf8String: subject }] }]),
    keys,
    signingAlgorithm: signing,
    extensions,
  });
  return `${request.toString("pem")}\n`;
}

const RSA = { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" };
const SIGNING: Readonly<
  Record<KeyAlgorithm, { readonly name: string; readonly hash?: string; readonly namedCurve?: string }>
> = {
  "ec-p256": { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" },
  "ec-p384": { name: "ECDSA", namedCurve: "P-384", hash: "SHA-384" },
  ed25519: { name: "Ed25519" },
  "rsa-2048": RSA,
  "rsa-3072": RSA,
  "rsa-4096": RSA,
};

export interface CryptoKeys {
  readonly privateKey: webcrypto.CryptoKey;
  readonly publicKey: webcrypto.CryptoKey;
  /** The algorithm to sign with, by WebCrypto's names. */
  readonly signing: { readonly name: string; readonly hash?: string; readonly namedCurve?: string };
}

/** A key as WebCrypto wants it, to sign with. Throws `KEY_UNUSABLE` for a key of type "other". */
export function cryptoKeys({ algorithm, keyObject }: Pick<PrivateKey, "algorithm" | "keyObject">): CryptoKeys {
  if (algorithm === "other") {
    throw new AgentError(
      "KEY_UNUSABLE",
      "Cannot sign a certificate request: the key is of a kind that specs do not know",
    );
  }
  const signing = SIGNING[algorithm];
  return {
    privateKey: keyObject.toCryptoKey(signing, false, ["sign"]),
    publicKey: createPublicKey(keyObject).toCryptoKey(signing, true, ["verify"]),
    signing,
  };
}
