import type { KeyObject } from "node:crypto";

export type KeyAlgorithm = "ec-p256" | "ec-p384" | "ed25519" | "rsa-2048" | "rsa-3072" | "rsa-4096";

/** A private key that cannot be printed by accident: every way to turn it into text gives `[private key]`. */
export interface PrivateKey {
  readonly algorithm: KeyAlgorithm | "other";
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hex. */
  readonly keyId: string;
  readonly keyObject: KeyObject;
  /** PKCS#8 PEM with a final newline. The one way to get at the bytes. */
  toPem(): string;
}
