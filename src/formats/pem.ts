import type { Certificate } from "../x509/certificate.ts";

/** The certificates in their order, one block after the other, without a line between them. */
export function renderCertificates(certificates: readonly Certificate[]): Uint8Array {
  return Buffer.from(certificates.map((certificate) => certificate.pem).join(""), "latin1");
}

const BEGIN = "-----BEGIN ";
const BEGIN_LINE = /^-----BEGIN (?!OPENSSH |PGP )[A-Z0-9 ]+-----[ \t]*\r?$/m;

/**
 * Whether bytes are PEM of any kind, torn or whole. A file that holds a zero byte is binary, whatever else it holds, and
 * PEM that is indented belongs to another format (YAML, XML). What OpenSSH and PGP put between such lines is theirs: a
 * typo must not cost the key that root logs in with.
 */
export function isPem(bytes: Uint8Array): boolean {
  const content = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  return content.includes(BEGIN) && !content.includes(0) && BEGIN_LINE.test(content.toString("latin1"));
}
