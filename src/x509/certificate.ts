import { hash, X509Certificate } from "node:crypto";
import { AgentError } from "../base/errors.ts";
import { printable } from "../base/printable.ts";
import { remember } from "../base/remember.ts";
import type { Instant } from "../base/time.ts";
import {
  DER_INTEGER,
  type DerElement,
  DerError,
  expectTag,
  readChildren,
  readDer,
  readObjectIdentifier,
  readSequence,
} from "./der.ts";
import { commonNameOf } from "./distinguished-name.ts";
import {
  EXTENSION,
  type KeyUsage,
  readAlternativeNames,
  readBasicConstraints,
  readExtendedKeyUsages,
  readExtensions,
  readKeyUsages,
} from "./extensions.ts";
import { describeKey, type KeyAlgorithm, keyIdOf } from "./key.ts";
import type { Name } from "./name.ts";
import { decodePem, encodePem, MOST_PEM_BYTES, type PemReading } from "./pem.ts";

/** What a certificate may be used for, as specs say it: `server` is id-kp-serverAuth, `client` id-kp-clientAuth. */
export const USAGES = ["server", "client"] as const;
export type Usage = (typeof USAGES)[number];

/** Usage → its OID (RFC 5280, 4.2.1.12). */
export const USAGE_OIDS: Readonly<Record<Usage, string>> = {
  server: "1.3.6.1.5.5.7.3.1",
  client: "1.3.6.1.5.5.7.3.2",
};
const ANY_USAGE = "2.5.29.37.0";

/** The facts of one certificate (RFC 5280), read once from its DER. */
export interface Certificate {
  readonly der: Uint8Array<ArrayBuffer>;
  /** One `CERTIFICATE` block with a final newline. */
  readonly pem: string;
  /** SHA-256 of the DER, 64 lower-case hex digits. */
  readonly fingerprint: string;
  /** Lower-case hex, no leading zeros beyond whole bytes. */
  readonly serial: string;
  /** The subject's common name, or "" where it has none. All names here have their control characters escaped. */
  readonly subject: string;
  readonly names: readonly Name[];
  /** Kinds of alternative names that specs cannot ask for, such as `directoryName`. */
  readonly otherNames: readonly string[];
  readonly notBefore: Instant;
  readonly notAfter: Instant;
  /** "other" for what specs cannot ask for (P-521, RSA of an odd size). */
  readonly key: KeyAlgorithm | "other";
  /** The key for people: `RSA 1024`, `EC prime256v1`. */
  readonly keyLabel: string;
  /** The key is below what clients take. */
  readonly weakKey: boolean;
  /** SHA-256 of the SubjectPublicKeyInfo, lower-case hex: equal for a key and the certificates of that key. */
  readonly keyId: string;
  /** How it was signed, as OpenSSL names it: `ecdsa-with-SHA256`. */
  readonly signatureAlgorithm: string;
  /** Signed over a digest that can be forged: SHA-1, MD5 and older. */
  readonly weakSignature: boolean;
  /** Key usages by their RFC 5280 names; undefined where the extension is absent (then every use is allowed). */
  readonly keyUsages: readonly KeyUsage[] | undefined;
  /** Extended key usages as OIDs; undefined where the extension is absent (then every use is allowed). */
  readonly extendedKeyUsages: readonly string[] | undefined;
  readonly isAuthority: boolean;
  /** How many intermediates may follow below an authority; null is any number. */
  readonly pathLength: number | null;
  /** The NameConstraints value of an authority as DER, or null; `name-constraints.ts` reads it. */
  readonly nameConstraints: Uint8Array | null;
  /** OIDs of critical extensions that nothing here understands. Whoever finds one must refuse the certificate. */
  readonly criticalUnknown: readonly string[];
  /** Subject and issuer are the same name: a root, or one that a CA made for its own new key. */
  readonly selfIssued: boolean;
  /** Distinguished names for people: `O=Example, CN=Example Root`. */
  readonly issuerName: string;
  readonly subjectName: string;
  /** The subject as DER, for comparisons. */
  readonly subjectDer: Uint8Array;
}

/** Reads a certificate: DER, or PEM text with exactly one block. Throws `CHAIN_UNUSABLE`. */
export function parseCertificate(derOrPem: Uint8Array | string): Certificate {
  if (typeof derOrPem !== "string") return readCertificate(Uint8Array.from(derOrPem));
  const certificates = loadCertificates(derOrPem, "answer");
  if (certificates.length > 1) throw unusable(`there are ${certificates.length} in one text`);
  return certificates[0];
}

/**
 * All certificates of a PEM text in their order, one at least. `file` passes over text and keys between them, `answer`
 * refuses them. Throws `CHAIN_UNUSABLE`.
 */
export function loadCertificates(
  pem: string | Uint8Array,
  policy: PemReading["policy"] = "file",
): readonly [Certificate, ...Certificate[]] {
  const blocks = decodePem(pem, { labels: ["CERTIFICATE"], policy, code: "CHAIN_UNUSABLE" });
  const [first, ...others] = blocks.map((block) => readCertificate(block.bytes));
  if (first === undefined) throw unusable("there is none in the text");
  return [first, ...others];
}

/** Authorities by fingerprint: the same few end every chain of a host. The one that was read first goes first. */
const authorities = new Map<string, Certificate>();
const MOST_AUTHORITIES = 16;
/** Leaves, for as long as somebody has one: each is read by who issues it, who deploys it and who sees it served. */
const leaves = new Map<string, WeakRef<Certificate>>();
const MOST_LEAVES = 256;

function readCertificate(der: Uint8Array<ArrayBuffer>): Certificate {
  if (der.length > MOST_PEM_BYTES) throw unusable(`${der.length} bytes are more than ${MOST_PEM_BYTES}`);
  const fingerprint = hash("sha256", der, "hex");
  const known = authorities.get(fingerprint) ?? leaves.get(fingerprint)?.deref();
  if (known !== undefined) return known;
  const certificate = readFacts(der, fingerprint);
  if (certificate.isAuthority) remember(authorities, MOST_AUTHORITIES, fingerprint, certificate);
  else remember(leaves, MOST_LEAVES, fingerprint, new WeakRef(certificate));
  return certificate;
}

function readFacts(der: Uint8Array<ArrayBuffer>, fingerprint: string): Certificate {
  try {
    return certificateFacts(der, fingerprint);
  } catch (cause) {
    throw unusable(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

function unusable(fact: string, cause?: unknown): AgentError {
  return new AgentError("CHAIN_UNUSABLE", `Cannot read a certificate: ${fact}`, { cause });
}

function certificateFacts(der: Uint8Array<ArrayBuffer>, fingerprint: string): Certificate {
  const parts = readParts(der);
  const { values, criticalUnknown } = readExtensions(parts.extensions);
  const x509 = opened(der);
  const { publicKey } = x509;
  const key = describeKey(publicKey);
  const alternatives = readAlternativeNames(values.get(EXTENSION.subjectAlternativeName));
  const [notBefore, notAfter] = [x509.validFromDate.getTime(), x509.validToDate.getTime()];
  if (Number.isNaN(notBefore) || Number.isNaN(notAfter)) throw new Error("its dates are unreadable");
  return {
    der,
    pem: encodePem("CERTIFICATE", der),
    fingerprint,
    serial: expectTag(parts.serial, DER_INTEGER)
      .content.toHex()
      .replace(/^(?:00)+(?=..)/, ""),
    subject: printable(commonNameOf(parts.subject)),
    names: alternatives.names,
    otherNames: alternatives.others,
    notBefore,
    notAfter,
    key: key.algorithm,
    keyLabel: key.label,
    weakKey: key.weak,
    keyId: keyIdOf(publicKey),
    ...readSignature(parts.signature, x509),
    keyUsages: readKeyUsages(values.get(EXTENSION.keyUsage)),
    extendedKeyUsages: readExtendedKeyUsages(values.get(EXTENSION.extendedKeyUsage)),
    ...readBasicConstraints(values.get(EXTENSION.basicConstraints)),
    nameConstraints: values.get(EXTENSION.nameConstraints)?.encoding ?? null,
    criticalUnknown,
    selfIssued: Buffer.compare(parts.subject.encoding, parts.issuer.encoding) === 0,
    issuerName: oneLine(x509.issuer),
    subjectName: oneLine(x509.subject),
    subjectDer: parts.subject.encoding,
  };
}

/** The fields of a TBSCertificate (RFC 5280, 4.1) that are read from the DER itself. */
function readParts(der: Uint8Array): Record<"serial" | "signature" | "issuer" | "subject", DerElement> & {
  extensions: DerElement | undefined;
} {
  const [body, signature] = readSequence(readDer(der));
  const fields = readSequence(body);
  const [serial, , issuer, , subject, , ...optional] = fields[0]?.tag === 0xa0 ? fields.slice(1) : fields;
  if (signature === undefined || serial === undefined || issuer === undefined || subject === undefined) {
    throw new Error("fields are missing");
  }
  return { serial, signature, issuer, subject, extensions: optional.find((field) => field.tag === 0xa3) };
}

const FORGEABLE = /md[245]|mdc2|ripemd|sha-?1(?!\d)|WithSHA$/i;
const RSA_PSS = "1.2.840.113549.1.1.10";

function readSignature(
  algorithm: DerElement,
  x509: X509Certificate,
): Pick<Certificate, "signatureAlgorithm" | "weakSignature"> {
  const [oid, parameters] = readSequence(algorithm);
  const name = x509.signatureAlgorithm ?? x509.signatureAlgorithmOid;
  if (readObjectIdentifier(oid) !== RSA_PSS) return { signatureAlgorithm: name, weakSignature: FORGEABLE.test(name) };
  // RSASSA-PSS says its digest in [0] of its parameters, and means SHA-1 where it says none (RFC 4055, 3.1).
  const digest = parameters && readSequence(parameters).find((parameter) => parameter.tag === 0xa0);
  const digestOid = digest && readObjectIdentifier(readSequence(readChildren(digest)[0])[0]);
  return { signatureAlgorithm: name, weakSignature: digestOid === undefined || !SHA_2_OR_3.test(digestOid) };
}

const SHA_2_OR_3 = /^2\.16\.840\.1\.101\.3\.4\.2\.\d+$/;

/** Node gives a distinguished name as lines, and nothing for an empty one. */
function oneLine(name: string | undefined): string {
  return printable((name ?? "").replaceAll("\n", ", "));
}

/** What a certificate is called in messages: its common name, else all of its subject, else its first name. */
export function displayName({ subject, subjectName, names, serial }: Certificate): string {
  return [subject, subjectName, names[0]?.value ?? ""].find((name) => name !== "") ?? `serial ${serial}`;
}

/** Whether a certificate may be used so; one without the extension may be used for everything. */
export function allowsUsage(certificate: Pick<Certificate, "extendedKeyUsages">, usage: Usage): boolean {
  const { extendedKeyUsages } = certificate;
  return (
    extendedKeyUsages === undefined || extendedKeyUsages.some((oid) => oid === USAGE_OIDS[usage] || oid === ANY_USAGE)
  );
}

/** Whether `parent` issued `child`: by name, key identifier, key usage and signature. Dates are not looked at. */
export function issued(child: Pick<Certificate, "der">, parent: Pick<Certificate, "der">): boolean {
  const [lower, upper] = [opened(child.der), opened(parent.der)];
  const known = verdicts.get(lower) ?? new WeakMap<X509Certificate, boolean>();
  verdicts.set(lower, known);
  const verdict = known.get(upper) ?? (lower.checkIssued(upper) && lower.verify(upper.publicKey));
  known.set(upper, verdict);
  return verdict;
}

/** The same bytes give the same answer, and a chain is judged by who issues it and by who deploys it. */
const verdicts = new WeakMap<X509Certificate, WeakMap<X509Certificate, boolean>>();

function parsed(der: Uint8Array): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    // Node tells why it is no PEM, which it tries first.
    throw new DerError("OpenSSL cannot read it", { cause });
  }
}

/** What OpenSSL made of the bytes, kept for as long as they are: whoever reads a certificate asks about it several times. */
const openedBytes = new WeakMap<Uint8Array, X509Certificate>();

function opened(der: Uint8Array): X509Certificate {
  const known = openedBytes.get(der);
  if (known !== undefined) return known;
  const x509 = parsed(der);
  // Node looks for PEM first, anywhere in the bytes: what a forged extension hides would answer for all the rest.
  if (Buffer.compare(x509.raw, der) !== 0) throw new DerError("OpenSSL reads another certificate out of it");
  openedBytes.set(der, x509);
  return x509;
}
