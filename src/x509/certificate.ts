import type { Instant } from "../base/time.ts";
import type { KeyAlgorithm } from "./key.ts";
import type { Name } from "./name.ts";

/** What a certificate may be used for, as specs say it: `server` is id-kp-serverAuth, `client` id-kp-clientAuth. */
export type Usage = "server" | "client";

/** The facts of one certificate (RFC 5280), read once from its DER. */
export interface Certificate {
  readonly der: Uint8Array<ArrayBuffer>;
  /** One `CERTIFICATE` block with a final newline. */
  readonly pem: string;
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Lower-case hex, no leading zeros beyond whole bytes. */
  readonly serial: string;
  /** The subject's common name, or "" where it has none. */
  readonly subject: string;
  readonly names: readonly Name[];
  readonly notBefore: Instant;
  readonly notAfter: Instant;
  /** "other" for what specs cannot ask for (P-521, RSA of an odd size). */
  readonly key: KeyAlgorithm | "other";
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hex: equal for a key and the certificates of that key. */
  readonly keyId: string;
  /** Extended key usages as OIDs; undefined where the extension is absent (then every use is allowed). */
  readonly extendedKeyUsages: readonly string[] | undefined;
  readonly isAuthority: boolean;
  readonly issuerName: string;
  readonly subjectName: string;
}
