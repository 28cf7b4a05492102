import {
  DER_BIT_STRING,
  DER_BOOLEAN,
  DER_INTEGER,
  DER_OCTET_STRING,
  type DerElement,
  DerError,
  expectTag,
  readBoolean,
  readDer,
  readObjectIdentifier,
  readSequence,
  readSmallInteger,
} from "./der.ts";
import { type Name, nameOf } from "./name.ts";

export const EXTENSION = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAlternativeName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  certificatePolicies: "2.5.29.32",
  policyMappings: "2.5.29.33",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  inhibitAnyPolicy: "2.5.29.54",
} as const;

/**
 * Critical extensions that do not make a certificate unusable here: those that certagent checks, and policies, which
 * decide nothing unless a verifier or a policyConstraints extension (which is not in this list) asks for one.
 */
const UNDERSTOOD: ReadonlySet<string> = new Set(Object.values(EXTENSION));

/** Extension OID → its content. */
export interface Extensions {
  readonly values: ReadonlyMap<string, DerElement>;
  /** OIDs of critical extensions that nothing here understands: RFC 5280, 4.2 says to refuse such a certificate. */
  readonly criticalUnknown: readonly string[];
}

/** Reads the content of the `[3]` of a TBSCertificate. Throws `DerError`. */
export function readExtensions(element: DerElement | undefined): Extensions {
  const values = new Map<string, DerElement>();
  const criticalUnknown: string[] = [];
  const list = element === undefined ? [] : readSequence(readDer(element.content));
  for (const extension of list) {
    const parts = readSequence(extension);
    const oid = readObjectIdentifier(parts[0]);
    const critical = parts[1]?.tag === DER_BOOLEAN && readBoolean(parts[1]);
    const octets = expectTag(parts.at(-1), DER_OCTET_STRING);
    if (values.has(oid)) throw new DerError(`the extension ${oid} occurs twice`);
    if (critical && !UNDERSTOOD.has(oid)) criticalUnknown.push(oid);
    // What nothing here understands need not be DER either.
    else if (UNDERSTOOD.has(oid)) values.set(oid, readDer(octets.content));
  }
  return { values, criticalUnknown };
}

export interface AlternativeNames {
  readonly names: readonly Name[];
  /** Kinds that specs cannot ask for, such as `directoryName`. */
  readonly others: readonly string[];
}

/** Reads a subjectAltName. Throws `DerError`. */
export function readAlternativeNames(element: DerElement | undefined): AlternativeNames {
  const names: Name[] = [];
  const others: string[] = [];
  for (const general of element === undefined ? [] : readSequence(element)) {
    const name = readGeneralName(general);
    if (typeof name === "string") others.push(name);
    else names.push(name);
  }
  return { names, others };
}

export const GENERAL_NAME = { email: 0x81, dns: 0x82, directory: 0xa4, uri: 0x86, ip: 0x87 } as const;
const OTHER_KINDS: Readonly<Record<number, string>> = {
  160: "otherName",
  163: "x400Address",
  164: "directoryName",
  165: "ediPartyName",
  136: "registeredID",
};

/** A GeneralName (RFC 5280, 4.2.1.6): the name, or what kind it is where specs know none like it. */
function readGeneralName({ tag, content }: DerElement): Name | string {
  if (tag === GENERAL_NAME.ip) {
    // Verifiers compare bytes: an IPv4 address in IPv6 clothes is not the IPv4 address to them.
    if (isMapped(content)) return "IPv4 address in 16 bytes";
    const address = formatAddress(content);
    return address === undefined ? "iPAddress of a wrong length" : nameOf("ip", address);
  }
  const text = latin1(content);
  if (tag === GENERAL_NAME.dns) return nameOf("dns", text);
  if (tag === GENERAL_NAME.email) return nameOf("email", text);
  if (tag === GENERAL_NAME.uri) return nameOf("uri", text);
  return OTHER_KINDS[tag] ?? `name of tag ${tag}`;
}

/** The bytes of an IA5String; a byte beyond ASCII shows as itself and makes no valid name. */
export function latin1(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}

function isMapped(bytes: Uint8Array): boolean {
  return bytes.length === 16 && bytes.toHex().startsWith("00000000000000000000ffff");
}

function formatAddress(bytes: Uint8Array): string | undefined {
  if (bytes.length === 4) return bytes.join(".");
  if (bytes.length !== 16) return undefined;
  return (bytes.toHex().match(/.{4}/g) ?? []).join(":");
}

const KEY_USAGES = [
  "digitalSignature",
  "nonRepudiation",
  "keyEncipherment",
  "dataEncipherment",
  "keyAgreement",
  "keyCertSign",
  "cRLSign",
  "encipherOnly",
  "decipherOnly",
] as const;
export type KeyUsage = (typeof KEY_USAGES)[number];

/** Reads a keyUsage (RFC 5280, 4.2.1.3); undefined where it is absent, and then allows everything. Throws `DerError`. */
export function readKeyUsages(element: DerElement | undefined): readonly KeyUsage[] | undefined {
  if (element === undefined) return undefined;
  const [, ...bytes] = expectTag(element, DER_BIT_STRING).content;
  return KEY_USAGES.filter((_, bit) => (((bytes[bit >> 3] ?? 0) << (bit & 7)) & 0x80) !== 0);
}

/** Reads an extKeyUsage; undefined where it is absent, and then allows everything. Throws `DerError`. */
export function readExtendedKeyUsages(element: DerElement | undefined): readonly string[] | undefined {
  return element && readSequence(element).map((purpose) => readObjectIdentifier(purpose));
}

export interface BasicConstraints {
  readonly isAuthority: boolean;
  /** How many intermediates may follow below it; null is any number. */
  readonly pathLength: number | null;
}

/** Reads a basicConstraints (RFC 5280, 4.2.1.9); one that is absent makes no authority. Throws `DerError`. */
export function readBasicConstraints(element: DerElement | undefined): BasicConstraints {
  const parts = element === undefined ? [] : readSequence(element);
  const isAuthority = parts[0]?.tag === DER_BOOLEAN && readBoolean(parts[0]);
  const last = parts.at(-1);
  return { isAuthority, pathLength: last?.tag === DER_INTEGER ? readSmallInteger(last) : null };
}
