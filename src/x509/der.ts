/**
 * As much of DER (X.690) as a certificate needs: elements of definite length, one level at a time. Nothing recurses, so
 * no nesting can exhaust the stack, and every byte is looked at once a level.
 *
 * node:crypto verifies signatures, but does not tell which extensions are critical, what the key usage is, or the exact
 * names; @peculiar/x509 does, and costs more memory than the rest of a renewal.
 */

import { remember } from "../base/remember.ts";

export interface DerElement {
  /** The identifier octet. Tags above 30 do not occur in certificates and are refused. */
  readonly tag: number;
  readonly content: Uint8Array;
  /** The whole encoding, identifier and length included. */
  readonly encoding: Uint8Array;
}

export const DER_BOOLEAN = 0x01;
export const DER_INTEGER = 0x02;
export const DER_BIT_STRING = 0x03;
export const DER_OCTET_STRING = 0x04;
const DER_SEQUENCE = 0x30;

/** Bytes that are no DER. Callers turn it into what they could not read. */
export class DerError extends Error {
  override readonly name = "DerError";
}

/** Reads one element that fills `bytes` to the end. Throws `DerError`. */
export function readDer(bytes: Uint8Array): DerElement {
  const element = readAt(bytes, 0);
  if (element.encoding.length !== bytes.length) throw new DerError("there are bytes behind the end");
  return element;
}

/** The elements that a constructed element holds. Throws `DerError`. */
export function readChildren(parent: Pick<DerElement, "content">): readonly DerElement[] {
  const children: DerElement[] = [];
  for (let at = 0; at < parent.content.length; ) {
    const child = readAt(parent.content, at);
    children.push(child);
    at += child.encoding.length;
  }
  return children;
}

/** Like {@link readChildren}, for an element that must be a SEQUENCE. */
export function readSequence(element: DerElement | undefined): readonly DerElement[] {
  return readChildren(expectTag(element, DER_SEQUENCE));
}

/** The element itself, if it has this tag. Throws `DerError` otherwise. */
export function expectTag(element: DerElement | undefined, tag: number): DerElement {
  if (element?.tag !== tag) throw new DerError(`tag ${tag} expected, ${element?.tag ?? "nothing"} found`);
  return element;
}

function readAt(bytes: Uint8Array, start: number): DerElement {
  const tag = byteAt(bytes, start);
  if ((tag & 0x1f) === 0x1f) throw new DerError("a tag has several bytes");
  const first = byteAt(bytes, start + 1);
  let at = start + 2;
  let length = first;
  if (first >= 0x80) {
    const count = first & 0x7f;
    if (count === 0 || count > 3) throw new DerError("a length is indefinite or beyond reason");
    length = 0;
    for (const end = at + count; at < end; at++) length = length * 256 + byteAt(bytes, at);
    if (length < 0x80 || length < 256 ** (count - 1)) throw new DerError("a length is not in its shortest form");
  }
  const end = at + length;
  if (end > bytes.length) throw new DerError("an element ends behind the end");
  return { tag, content: bytes.subarray(at, end), encoding: bytes.subarray(start, end) };
}

function byteAt(bytes: Uint8Array, at: number): number {
  const byte = bytes[at];
  if (byte === undefined) throw new DerError("an element ends behind the end");
  return byte;
}

/** The same dozen stands in every certificate. */
const identifiers = new Map<string, string>();
const MOST_IDENTIFIERS = 64;

/** An OBJECT IDENTIFIER in dotted form. Throws `DerError`. */
export function readObjectIdentifier(element: DerElement | undefined): string {
  const { content } = expectTag(element, 0x06);
  if (content.length === 0 || content.length > 64) throw new DerError("an object identifier is beyond reason");
  const bytes = content.toHex();
  const known = identifiers.get(bytes);
  if (known !== undefined) return known;
  const identifier = decodeIdentifier(content);
  remember(identifiers, MOST_IDENTIFIERS, bytes, identifier);
  return identifier;
}

function decodeIdentifier(content: Uint8Array): string {
  const arcs: bigint[] = [];
  let arc = 0n;
  for (const byte of content) {
    arc = arc * 128n + BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0n;
  }
  if ((content.at(-1) ?? 0x80) >= 0x80) throw new DerError("an object identifier is cut off");
  // The first two arcs share a number (X.690, 8.19.4).
  const [joint = 0n, ...rest] = arcs;
  const top = joint < 80n ? joint / 40n : 2n;
  return [top, joint - 40n * top, ...rest].join(".");
}

/** A small non-negative INTEGER. Throws `DerError`. */
export function readSmallInteger(element: DerElement | undefined): number {
  const { content } = expectTag(element, DER_INTEGER);
  if (content.length === 0 || content.length > 4 || (content[0] ?? 0x80) >= 0x80) {
    throw new DerError("an integer is beyond reason");
  }
  return content.reduce((value, byte) => value * 256 + byte, 0);
}

/** A BOOLEAN. Throws `DerError`. */
export function readBoolean(element: DerElement | undefined): boolean {
  const { content } = expectTag(element, DER_BOOLEAN);
  if (content.length !== 1) throw new DerError("a boolean is not one byte");
  return content[0] !== 0;
}

/** Text of a string type by its tag: UTF-8, BMP, or one of the one-byte types. */
export function readText(element: DerElement): string {
  const { buffer, byteOffset, length } = element.content;
  const bytes = Buffer.from(buffer, byteOffset, length);
  if (element.tag === 0x0c) return bytes.toString("utf8");
  if (element.tag === 0x1e && length % 2 === 0) return Buffer.from(bytes).swap16().toString("utf16le");
  return bytes.toString("latin1");
}
