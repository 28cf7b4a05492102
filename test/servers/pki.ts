/**
 * A certificate authority of one's own for tests: a root, an intermediate, and leaves of every kind, the wrong ones
 * too. Everything began a day ago and has a subject key identifier, as real CAs make them.
 */
import "reflect-metadata";
import { randomBytes } from "node:crypto";
import * as x509 from "@peculiar/x509";
import { DAY, type Instant, systemClock } from "../../src/base/time.ts";
import { type Certificate, issued, parseCertificate, USAGE_OIDS } from "../../src/x509/certificate.ts";
import { cryptoKeys } from "../../src/x509/csr.ts";
import { generateKey, type KeyAlgorithm, type PrivateKey } from "../../src/x509/key.ts";
import { type Name, parseName } from "../../src/x509/name.ts";
import { encodePem } from "../../src/x509/pem.ts";

export interface Authority {
  readonly certificate: Certificate;
  readonly key: PrivateKey;
}

export interface AuthorityOptions {
  readonly name?: string;
  /** Absent for a root. */
  readonly issuer?: Authority | undefined;
  readonly key?: PrivateKey | KeyAlgorithm;
  readonly notBefore?: Instant;
  readonly notAfter?: Instant;
  readonly pathLength?: number;
  readonly isAuthority?: boolean;
  /** Replaces keyCertSign and cRLSign. */
  readonly keyUsages?: x509.KeyUsageFlags;
  readonly extensions?: readonly x509.Extension[];
}

export interface LeafOptions {
  /** SANs as text; `Name`s are written as they are, valid or not. */
  readonly names?: readonly (string | Name)[];
  /** The common name: the first name unless said otherwise; null for an empty subject. */
  readonly subject?: string | null;
  readonly key?: PrivateKey | KeyAlgorithm;
  readonly notBefore?: Instant;
  readonly notAfter?: Instant;
  /** Extended key usages, as specs say them or as OIDs: server and client unless said otherwise; null leaves the extension out. */
  readonly usages?: readonly string[] | null;
  /** digitalSignature unless said otherwise; null leaves the extension out. */
  readonly keyUsages?: x509.KeyUsageFlags | null;
  readonly isAuthority?: boolean;
  /** The intermediate unless said otherwise. */
  readonly issuer?: Authority;
  /** Hex digits. */
  readonly serial?: string;
  readonly extensions?: readonly x509.Extension[];
}

export interface IssuedLeaf {
  readonly key: PrivateKey;
  readonly leaf: Certificate;
  /** The leaf, then its issuer, unless that is the root. */
  readonly chain: readonly [Certificate, ...Certificate[]];
  /** `chain` as one PEM text. */
  readonly pem: string;
}

export interface Pki {
  readonly root: Authority;
  readonly intermediate: Authority;
  readonly roots: readonly Certificate[];
  issue(options?: LeafOptions): Promise<IssuedLeaf>;
}

/** A root, an intermediate below it, and a way to issue below that. */
export async function makePki(name = "Test"): Promise<Pki> {
  const root = await makeAuthority({ name: `${name} Root` });
  const intermediate = await makeAuthority({ name: `${name} Intermediate`, issuer: root, pathLength: 0 });
  return {
    root,
    intermediate,
    roots: [root.certificate],
    issue: (options = {}) => issueLeaf({ issuer: intermediate, ...options }),
  };
}

const KEY_CERT_SIGN = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;

/** A root where no issuer is given, else an intermediate below it. */
export async function makeAuthority(options: AuthorityOptions = {}): Promise<Authority> {
  const key = await keyOf(options.key);
  const { issuer, isAuthority = true, extensions = [] } = options;
  const name = options.name ?? (issuer ? "Intermediate" : "Root");
  const certificate = await sign(issuer ?? { key, name: commonName(name) }, {
    key,
    name: commonName(name),
    notBefore: options.notBefore,
    notAfter: options.notAfter ?? systemClock.now() + 3650 * DAY,
    extensions: [
      new x509.BasicConstraintsExtension(isAuthority, options.pathLength, true),
      new x509.KeyUsagesExtension(options.keyUsages ?? KEY_CERT_SIGN, true),
      ...extensions,
    ],
  });
  return { certificate, key };
}

async function issueLeaf(options: LeafOptions & { readonly issuer: Authority }): Promise<IssuedLeaf> {
  const { issuer, names = ["web.internal"], usages = ["server", "client"], isAuthority, extensions = [] } = options;
  const key = await keyOf(options.key);
  const alternatives = names.map(toName);
  const subject = options.subject === undefined ? (alternatives[0]?.value ?? null) : options.subject;
  const keyUsages = options.keyUsages === undefined ? x509.KeyUsageFlags.digitalSignature : options.keyUsages;
  const leaf = await sign(issuer, {
    key,
    name: subject === null ? new x509.Name([]) : commonName(subject),
    notBefore: options.notBefore,
    notAfter: options.notAfter ?? systemClock.now() + 30 * DAY,
    serial: options.serial,
    extensions: [
      ...(keyUsages === null ? [] : [new x509.KeyUsagesExtension(keyUsages, true)]),
      ...(usages === null ? [] : [new x509.ExtendedKeyUsageExtension(usages.map(usageOid))]),
      ...(isAuthority === undefined ? [] : [new x509.BasicConstraintsExtension(isAuthority, undefined, true)]),
      ...(alternatives.length === 0 ? [] : [alternativeNames(alternatives, subject === null)]),
      ...extensions,
    ],
  });
  const chain: [Certificate, ...Certificate[]] =
    issuer.certificate.selfIssued && issued(issuer.certificate, issuer.certificate)
      ? [leaf]
      : [leaf, issuer.certificate];
  return { key, leaf, chain, pem: chain.map((certificate) => certificate.pem).join("") };
}

interface Draft {
  readonly key: PrivateKey;
  readonly name: x509.Name;
  readonly notBefore: Instant | undefined;
  readonly notAfter: Instant;
  readonly serial?: string | undefined;
  readonly extensions: readonly x509.Extension[];
}

async function sign(issuer: Authority | { key: PrivateKey; name: x509.Name }, draft: Draft): Promise<Certificate> {
  const { privateKey, publicKey: issuerKey, signing } = cryptoKeys(issuer.key);
  const { publicKey } = cryptoKeys(draft.key);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: draft.name,
    issuer: "certificate" in issuer ? new x509.X509Certificate(issuer.certificate.der).subjectName : issuer.name,
    serialNumber: draft.serial ?? `0${randomBytes(15).toString("hex")}1`,
    notBefore: new Date(draft.notBefore ?? systemClock.now() - DAY),
    notAfter: new Date(draft.notAfter),
    publicKey,
    signingKey: privateKey,
    signingAlgorithm: signing,
    extensions: [
      ...draft.extensions,
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuerKey),
    ],
  });
  return parseCertificate(new Uint8Array(certificate.rawData));
}

async function keyOf(key: PrivateKey | KeyAlgorithm = "ec-p256"): Promise<PrivateKey> {
  return typeof key === "string" ? await generateKey(key) : key;
}

function commonName(name: string): x509.Name {
  return new x509.Name([{ CN: [{ utf8String: name }] }]);
}

function toName(name: string | Name): Name {
  const parsed = typeof name === "string" ? parseName(name) : name;
  if (parsed === undefined) throw new Error(`${JSON.stringify(name)} is no name`);
  return parsed;
}

function usageOid(usage: string): string {
  return usage === "server" || usage === "client" ? USAGE_OIDS[usage] : usage;
}

function alternativeNames(names: readonly Name[], critical: boolean): x509.Extension {
  const types = { dns: "dns", email: "email", ip: "ip", uri: "url" } as const;
  return new x509.SubjectAlternativeNameExtension(
    names.map(({ type, value }) => ({ type: types[type], value })),
    critical,
  );
}

/**
 * A certificate of another CA for an honest one's key, as PEM. The honest one lies in it, as PEM in an extension: that is
 * what Node's X509Certificate reads, while services read what is around it.
 */
export async function impostor({ key, leaf }: IssuedLeaf, forger: Pki, options: LeafOptions): Promise<string> {
  const hidden = `\n${leaf.pem}`;
  const room = "x".repeat(hidden.length);
  const extensions = [new x509.Extension("1.2.3.4", false, Buffer.from(room))];
  const bytes = Buffer.from((await forger.issue({ ...options, key, extensions })).leaf.der);
  bytes.write(hidden, bytes.indexOf(room));
  return encodePem("CERTIFICATE", bytes);
}

/** One DER element. */
export function der(tag: number, ...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const content = Buffer.concat(parts.map((part) => Buffer.from(part as string, "latin1")));
  const { length } = content;
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...size]), content]);
}

/** A critical extension of name constraints, each base as a GeneralName in DER. */
export function nameConstraints(subtrees: {
  readonly permitted?: readonly Uint8Array[];
  readonly excluded?: readonly Uint8Array[];
}): x509.Extension {
  const list = (tag: number, bases: readonly Uint8Array[] = []): Uint8Array[] =>
    bases.length === 0 ? [] : [der(tag, ...bases.map((base) => der(0x30, base)))];
  const value = der(0x30, ...list(0xa0, subtrees.permitted), ...list(0xa1, subtrees.excluded));
  return new x509.Extension("2.5.29.30", true, Uint8Array.from(value));
}
