import { isIP } from "node:net";
import { domainToASCII } from "node:url";
import { printable } from "../base/printable.ts";

/** The kinds of name that a spec can ask for. */
export const NAME_TYPES = ["dns", "ip", "uri", "email"] as const;

/** A subject alternative name (RFC 5280, 4.2.1.6) in its canonical spelling. */
export interface Name {
  readonly type: (typeof NAME_TYPES)[number];
  /** DNS names lower case and in A-labels, IP addresses in their shortest form. */
  readonly value: string;
}

// Underscores are no host name by RFC 1123, and yet the names of many containers: every CA and client here takes them.
const LABEL = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;
const URI = /^([A-Za-z][A-Za-z0-9+.-]*):(?:\/\/([^/?#]+))?(.*)$/;
const URI_CHARACTERS = /^(?:[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+$/;
const LOCAL_PART = /^[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*$/;

/**
 * What a SAN text means, in its canonical spelling; undefined where it is no valid name. The classes are those of
 * step-ca (IP, URI, email, else DNS), but only `scheme://host…` and `urn:` are URIs: step-ca takes `localhost:8080` for
 * one, and nobody means that.
 */
export function parseName(text: string): Name | undefined {
  const ip = canonicalIp(text);
  if (ip !== undefined) return { type: "ip", value: ip };
  if (text.includes("://") || /^urn:/i.test(text)) return named("uri", canonicalUri(text));
  if (text.includes("@")) return named("email", canonicalEmail(text));
  return named("dns", canonicalDns(text));
}

function named(type: Name["type"], value: string | undefined): Name | undefined {
  return value === undefined ? undefined : { type, value };
}

/**
 * A name whose type is known already, since it stands in a certificate. What is not valid keeps its own spelling in
 * lower case, so that it is seen (control characters escaped), and equals nothing that a spec can ask for.
 */
export function nameOf(type: Name["type"], text: string): Name {
  const parsed = /^[\x21-\x7e]*$/.test(text) ? parseName(text) : undefined;
  return parsed?.type === type ? parsed : { type, value: printable(text.toLowerCase()) };
}

function canonicalIp(text: string): string | undefined {
  // Node's own test compiles patterns of thousands of characters, and most names are no addresses.
  const family = /:|\d$/.test(text) ? isIP(text) : 0;
  if (family === 0 || text.includes("%")) return undefined;
  if (family === 4) return text;
  const shortest = new URL(`http://[${text}]`).hostname.slice(1, -1);
  // An IPv4 address in IPv6 clothes is written into a certificate as the IPv4 address (Go's net.ParseIP).
  const mapped = /^::ffff:([0-9a-f]{1,4}):([0-9a-f]{1,4})$/.exec(shortest);
  if (mapped === null) return shortest;
  const bits = (Number.parseInt(mapped[1] ?? "", 16) << 16) | Number.parseInt(mapped[2] ?? "", 16);
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
}

function canonicalUri(text: string): string | undefined {
  const [, scheme, authority, rest = ""] = URI.exec(text) ?? [];
  if (scheme === undefined || text.length > 2048 || !URI_CHARACTERS.test(text) || !URL.canParse(text)) return undefined;
  if (authority === undefined)
    return text.includes("://") || rest === "" ? undefined : `${scheme.toLowerCase()}:${rest}`;
  return `${scheme.toLowerCase()}://${authority.toLowerCase()}${rest}`;
}

function canonicalEmail(text: string): string | undefined {
  const at = text.lastIndexOf("@");
  const local = text.slice(0, at);
  const host = canonicalDns(text.slice(at + 1));
  if (host === undefined || host.startsWith("*") || local.length > 64 || !LOCAL_PART.test(local)) return undefined;
  return `${local}@${host}`;
}

function canonicalDns(text: string): string | undefined {
  // IDNA has no quotes and no dashes but the hyphen; domainToASCII takes what a word processor makes of them.
  if (/[\p{White_Space}\p{Cc}\p{Cf}\p{Pi}\p{Pf}%/:@?#[\]\\]|(?!-)\p{Pd}/u.test(text)) return undefined;
  if (/(^|[.\u3002\uff0e\uff61])-|-($|[.\u3002\uff0e\uff61])/.test(text)) return undefined; // nor, at a label's end, that one
  const wildcard = text.startsWith("*.");
  const host = domainToASCII(wildcard ? text.slice(2) : text);
  const labels = host.split(".");
  const whole = wildcard ? `*.${host}` : host;
  if (whole.length > 253 || !labels.every((label) => LABEL.test(label))) return undefined;
  // domainToASCII reads 010.0.0.1 and 0x7f.1 as addresses; a name that ends in a number is never a host (RFC 3696).
  if (/^\d+$/.test(labels.at(-1) ?? "")) return undefined;
  return wildcard && labels.length < 2 ? undefined : whole;
}

/** The text that `parseName` gives this name for. */
export function formatName(name: Name): string {
  return name.value;
}

/** Orders by type (dns, email, ip, uri), then by value. */
export function compareNames(a: Name, b: Name): number {
  if (a.type !== b.type) return a.type < b.type ? -1 : 1;
  if (a.value === b.value) return 0;
  return a.value < b.value ? -1 : 1;
}

/** Sorted and without doubles: the form in which a request keeps its names. */
export function sortNames(names: readonly Name[]): readonly Name[] {
  const sorted = names.toSorted(compareNames);
  const isNew = (name: Name, index: number): boolean => {
    const before = sorted[index - 1];
    return before === undefined || compareNames(before, name) !== 0;
  };
  return sorted.every(isNew) ? sorted : sorted.filter(isNew);
}

/** Whether both hold the same names, in whatever order and however often. */
export function sameNames(a: readonly Name[], b: readonly Name[]): boolean {
  if (a.length === b.length && a.every((name, index) => compareNames(name, b[index] ?? name) === 0)) return true;
  const left = sortNames(a);
  const right = sortNames(b);
  return left.length === right.length && left.every((name, index) => compareNames(name, right[index] ?? name) === 0);
}
