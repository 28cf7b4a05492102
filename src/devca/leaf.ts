import { createPublicKey } from "node:crypto";
import { isIP } from "node:net";
import {
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Pkcs10CertificateRequest,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
} from "@peculiar/x509";
import { type Certificate, USAGE_OIDS } from "../x509/certificate.ts";
import { parseName } from "../x509/name.ts";
import { commonName, type Draft } from "./authority.ts";
import { badRequest, forbidden } from "./rejection.ts";
import type { Validity } from "./validity.ts";

const AUTHORITY_KEY_IDENTIFIER = "2.5.29.35";
const SUBJECT_KEY_IDENTIFIER = "2.5.29.14";

type NameType = "dns" | "email" | "ip" | "url";
interface TypedName {
  readonly type: NameType;
  readonly value: string;
}
/** In the order in which step-ca looks at them and writes them. */
const TYPES: readonly (readonly [NameType, string])[] = [
  ["dns", "DNS names"],
  ["email", "email addresses"],
  ["ip", "IP addresses"],
  ["url", "URIs"],
];

/** The CSR of a sign or rekey request. Throws 400 where there is none, or one that its own key did not sign. */
export async function readCsr(pem: unknown): Promise<Pkcs10CertificateRequest> {
  if (pem === undefined || pem === null || pem === "") throw badRequest("missing csr");
  if (typeof pem !== "string") throw badRequest("error decoding json");
  let csr: Pkcs10CertificateRequest;
  try {
    csr = new Pkcs10CertificateRequest(pem);
  } catch {
    throw badRequest("error decoding json");
  }
  const verified = await csr.verify().catch(() => false);
  if (!verified) throw badRequest("invalid csr");
  return csr;
}

/** The names of a token by step-ca's rules: IP address, URI by its scheme, email by its @, else DNS. */
export function splitNames(sans: readonly string[]): readonly TypedName[] {
  const named = sans
    .filter((san) => san !== "")
    .map((value): TypedName => ({ type: typeOf(value), value: canonical(value) }));
  return TYPES.flatMap(([type]) => named.filter((name) => name.type === type));
}

function typeOf(san: string): NameType {
  if (isIP(san) !== 0) return "ip";
  if (/^[a-z][a-z0-9+.-]*:/i.test(san)) return "url";
  return san.includes("@") ? "email" : "dns";
}

function canonical(value: string): string {
  const name = isIP(value) === 0 ? undefined : parseName(value);
  return name?.value ?? value;
}

/** Throws 403 where the CSR names what the token does not: of each type all or nothing, and case counts. */
export function compareWithToken(csr: Pkcs10CertificateRequest, subject: string, sans: readonly string[]): void {
  const common = csr.subjectName.getField("CN")[0] ?? "";
  const allowed = [subject, ...sans];
  if (common !== "" && !allowed.includes(common)) {
    throw forbidden(
      `certificate request does not contain the valid common name - got ${common}, want [${allowed.join(" ")}]`,
    );
  }
  const wanted = splitNames(sans);
  for (const [type, words] of TYPES) {
    const got = namesOf(csr, type);
    const want = wanted.filter((name) => name.type === type).map(({ value }) => value);
    if (got.length === 0 || same(got, want)) continue;
    throw forbidden(
      `certificate request does not contain the valid ${words} - got [${got.join(" ")}], want [${want.join(" ")}]`,
    );
  }
}

function namesOf(csr: Pkcs10CertificateRequest, type: NameType): readonly string[] {
  const extension = csr.extensions.find((found) => found instanceof SubjectAlternativeNameExtension);
  return (extension?.names.items ?? []).filter((name) => name.type === type).map(({ value }) => canonical(value));
}

function same(a: readonly string[], b: readonly string[]): boolean {
  const [left, right] = [new Set(a), new Set(b)];
  return left.size === right.size && left.isSubsetOf(right);
}

/** What a leaf of a sign request says: the token's names, the CSR's key, server and client. */
export async function newLeaf(
  csr: Pkcs10CertificateRequest,
  subject: string,
  sans: readonly string[],
  validity: Validity,
  extra: readonly Extension[],
): Promise<Draft> {
  const { publicKey } = csr;
  const spki = Buffer.from(publicKey.rawData);
  const isRsa = createPublicKey({ key: spki, format: "der", type: "spki" }).asymmetricKeyType === "rsa";
  const usages =
    KeyUsageFlags.digitalSignature | (isRsa ? KeyUsageFlags.keyEncipherment : KeyUsageFlags.digitalSignature);
  const extensions = [
    new KeyUsagesExtension(usages, true),
    new ExtendedKeyUsageExtension([USAGE_OIDS.server, USAGE_OIDS.client]),
    await SubjectKeyIdentifierExtension.create(publicKey),
    new SubjectAlternativeNameExtension([...splitNames(sans)], subject === ""),
    ...extra,
  ];
  return { subject: commonName(subject), publicKey, ...validity, extensions };
}

/** A renewal: all of the old leaf but dates, serial number and issuer; with `csr` its key takes the old one's place. */
export async function renewedLeaf(
  old: Certificate,
  validity: Validity,
  csr?: Pkcs10CertificateRequest,
): Promise<Draft> {
  const certificate = new X509Certificate(old.der);
  const recomputed = new Set([AUTHORITY_KEY_IDENTIFIER, ...(csr === undefined ? [] : [SUBJECT_KEY_IDENTIFIER])]);
  const copied = certificate.extensions.filter(({ type }) => !recomputed.has(type));
  const publicKey = csr?.publicKey ?? certificate.publicKey;
  const extensions = csr === undefined ? copied : [...copied, await SubjectKeyIdentifierExtension.create(publicKey)];
  return { subject: certificate.subjectName, publicKey, ...validity, extensions };
}

/** The CA's own TLS certificate. */
export function serverLeaf(names: readonly string[], publicKey: Draft["publicKey"], validity: Validity): Draft {
  const extensions = [
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([USAGE_OIDS.server, USAGE_OIDS.client]),
    new SubjectAlternativeNameExtension([...splitNames(names)]),
  ];
  return { subject: commonName("Step Online CA"), publicKey, ...validity, extensions };
}
