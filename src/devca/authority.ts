import "reflect-metadata";
import { randomBytes } from "node:crypto";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  Name,
  type PublicKey,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";
import { DAY, type Instant, SECOND } from "../base/time.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { cryptoKeys } from "../x509/csr.ts";
import { generateKey, type PrivateKey } from "../x509/key.ts";

/** A certificate that signs others, and its key. */
export interface Authority {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

export interface Draft {
  readonly subject: Name;
  readonly publicKey: PublicKey | CryptoKey;
  readonly notBefore: Instant;
  readonly notAfter: Instant;
  /** All but the authority key identifier, which comes of the issuer. */
  readonly extensions: readonly Extension[];
}

/** Signs a certificate with a random serial number; times are cut to whole seconds. */
export async function signCertificate(issuer: Authority, draft: Draft): Promise<Certificate> {
  const { privateKey, publicKey, signing } = cryptoKeys(issuer.key);
  const certificate = await X509CertificateGenerator.create({
    subject: draft.subject,
    issuer: new X509Certificate(issuer.certificate.der).subjectName,
    serialNumber: randomBytes(16).toString("hex"),
    notBefore: wholeSecond(draft.notBefore),
    notAfter: wholeSecond(draft.notAfter),
    publicKey: draft.publicKey,
    signingKey: privateKey,
    signingAlgorithm: signing,
    extensions: [...draft.extensions, await AuthorityKeyIdentifierExtension.create(publicKey)],
  });
  return parseCertificate(new Uint8Array(certificate.rawData));
}

function wholeSecond(instant: Instant): Date {
  return new Date(Math.floor(instant / SECOND) * SECOND);
}

/** A self-signed root. It began a day ago, so that leaves which are dated back lie inside of it. */
export async function makeRoot(name: string, now: Instant): Promise<Authority> {
  const key = await generateKey("ec-p256");
  const { privateKey, publicKey, signing } = cryptoKeys(key);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    name: commonName(name),
    keys: { privateKey, publicKey },
    serialNumber: randomBytes(16).toString("hex"),
    notBefore: wholeSecond(now - DAY),
    notAfter: wholeSecond(now + 3650 * DAY),
    signingAlgorithm: signing,
    extensions: [...authorityExtensions(1), await SubjectKeyIdentifierExtension.create(publicKey)],
  });
  return { certificate: parseCertificate(new Uint8Array(certificate.rawData)), key };
}

/** An intermediate below a root; with `key` one that is re-issued. */
export async function makeIntermediate(name: string, root: Authority, now: Instant): Promise<Authority> {
  const key = await generateKey("ec-p256");
  const { publicKey } = cryptoKeys(key);
  const certificate = await signCertificate(root, {
    subject: commonName(name),
    publicKey,
    notBefore: now - DAY,
    notAfter: now + 3650 * DAY,
    extensions: [...authorityExtensions(0), await SubjectKeyIdentifierExtension.create(publicKey)],
  });
  return { certificate, key };
}

function authorityExtensions(pathLength: number): Extension[] {
  const usages = (KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign) as KeyUsageFlags;
  return [new BasicConstraintsExtension(true, pathLength, true), new KeyUsagesExtension(usages, true)];
}

/** A subject of a common name alone; an empty text makes an empty subject. */
export function commonName(name: string): Name {
  return new Name(name === "" ? [] : [{ CN: [{ utf8String: name }] }]);
}
