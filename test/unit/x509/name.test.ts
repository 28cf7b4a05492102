import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  compareNames,
  formatName,
  type Name,
  nameOf,
  parseName,
  sameNames,
  sortNames,
} from "../../../src/x509/name.ts";

const label63 = "a".repeat(63);

describe("parseName()", () => {
  test.each<[string, Name["type"], string]>([
    ["web.internal", "dns", "web.internal"],
    ["Web.INTERNAL", "dns", "web.internal"],
    ["client-api", "dns", "client-api"],
    ["my_service", "dns", "my_service"],
    ["bücher.example", "dns", "xn--bcher-kva.example"],
    ["xn--bcher-kva.example", "dns", "xn--bcher-kva.example"],
    ["*.edge.internal", "dns", "*.edge.internal"],
    ["*.BÜCHER.example", "dns", "*.xn--bcher-kva.example"],
    ["1.2.3.example", "dns", "1.2.3.example"],
    [`${label63}.example`, "dns", `${label63}.example`],
    ["10.0.0.20", "ip", "10.0.0.20"],
    ["2001:DB8:0:0:0:0:0:1", "ip", "2001:db8::1"],
    ["::", "ip", "::"],
    ["::ffff:10.0.0.1", "ip", "10.0.0.1"],
    ["::FFFF:c0a8:0001", "ip", "192.168.0.1"],
    ["spiffe://example.internal/service/api", "uri", "spiffe://example.internal/service/api"],
    ["HTTPS://Web.Internal:8443/Path?q#f", "uri", "https://web.internal:8443/Path?q#f"],
    ["urn:uuid:6ba7b810-9dad", "uri", "urn:uuid:6ba7b810-9dad"],
    ["URN:Example:A", "uri", "urn:Example:A"],
    ["Root@Mail.Example", "email", "Root@mail.example"],
    ["a+b@x", "email", "a+b@x"],
  ])("reads %s as %s %s", (text, type, value) => {
    expect(parseName(text)).toEqual({ type, value });
  });

  test.each([
    "",
    " ",
    "*",
    "*.internal",
    "a.*.example",
    "w*.a.example",
    "*.*.example.com",
    "a b",
    " web.internal",
    "web.internal\n",
    "web..internal",
    ".web.internal",
    "web.internal.",
    "-web.internal",
    "web-.internal",
    "-büro.internal",
    "büro-.internal",
    `${label63}a.example`,
    `${label63}.`.repeat(4),
    `${"abc.".repeat(63)}ab`,
    "localhost:8080",
    "web.internal:443",
    "[::1]",
    "fe80::1%eth0",
    "10.0.0",
    "10.0.0.256",
    "010.0.0.1",
    "0x7f.1",
    "10.0.0.0/8",
    "web/internal",
    "a%41.example",
    "a\u200bb.example",
    "web\u2013admin.example",
    "\u201cweb.example\u201d",
    "a\0b.example",
    "http://",
    "file:///etc/passwd",
    "http://a b/",
    "http://a/%zz",
    "http://bücher/",
    "urn:",
    "1a://x",
    "@example.com",
    "root@",
    "root@*.example.com",
    "a..b@example.com",
    "a b@example.com",
    `${"a".repeat(65)}@example.com`,
    "mailto:root@example.com",
    "\u0024{fqdn}",
  ])("refuses %j", (text) => {
    expect(parseName(text)).toBeUndefined();
  });

  test("reads its own spelling as the same name", () => {
    const piece = fc.stringMatching(/^[a-zA-Z0-9_-]{1,8}$/);
    const text = fc.oneof(
      fc.domain(),
      fc.domain().map((domain) => `*.${domain}`),
      fc.ipV4(),
      fc.ipV6(),
      fc.emailAddress(),
      fc.webUrl(),
      fc.array(piece).map((pieces) => pieces.join(".")),
      fc.string(),
    );
    fc.assert(
      fc.property(text, (each) => {
        const name = parseName(each);
        if (name !== undefined) expect(parseName(formatName(name))).toEqual(name);
      }),
    );
  });

  test("accepts every domain and every address", () => {
    fc.assert(fc.property(fc.domain(), (text) => void expect(parseName(text)?.type).toBe("dns")));
    fc.assert(fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => void expect(parseName(text)?.type).toBe("ip")));
  });
});

test.each<[string, Name["type"], string, Name]>([
  ["a valid name", "dns", "Web.Internal", { type: "dns", value: "web.internal" }],
  ["a wildcard that no spec may ask for", "dns", "*.Internal", { type: "dns", value: "*.internal" }],
  ["an address written as a DNS name", "dns", "10.0.0.1", { type: "dns", value: "10.0.0.1" }],
  ["bytes beyond ASCII", "dns", "b\u00fccher.example", { type: "dns", value: "b\u00fccher.example" }],
])("nameOf() keeps %s apart from what it is not", (_, type, text, name) => {
  expect(nameOf(type, text)).toEqual(name);
});

describe("lists of names", () => {
  const name = fc.record({
    type: fc.constantFrom("dns" as const, "ip" as const),
    value: fc.constantFrom("a", "b", "c"),
  });
  const names = fc.array(name, { maxLength: 6 });

  test("sortNames() sorts by type, then value, and drops doubles", () => {
    const sorted = sortNames(
      ["b.x", "10.0.0.1", "a.x", "urn:a:b", "a@x", "b.x"].map((text) => parseName(text) as Name),
    );

    expect(sorted.map(formatName)).toEqual(["a.x", "b.x", "a@x", "10.0.0.1", "urn:a:b"]);
  });

  test("sortNames() leaves what it has sorted as it is", () => {
    fc.assert(fc.property(names, (each) => void expect(sortNames(sortNames(each))).toEqual(sortNames(each))));
  });

  test("sameNames() is equality of sets", () => {
    const set = (each: readonly Name[]): Set<string> => new Set(each.map(({ type, value }) => `${type} ${value}`));
    fc.assert(
      fc.property(names, names, (a, b) => {
        expect(sameNames(a, b)).toBe(set(a).symmetricDifference(set(b)).size === 0);
      }),
    );
  });

  test("compareNames() is a total order", () => {
    fc.assert(
      fc.property(
        name,
        name,
        (a, b) => void expect(Math.sign(compareNames(a, b))).toBe(-Math.sign(compareNames(b, a)) + 0),
      ),
    );
  });
});
