import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { arrangeChain } from "../../../src/x509/chain.ts";
import { parseName } from "../../../src/x509/name.ts";
import { violatedConstraint } from "../../../src/x509/name-constraints.ts";
import { openssl } from "../../servers/openssl.ts";
import { der, type IssuedLeaf, makeAuthority, makePki, nameConstraints } from "../../servers/pki.ts";

const pki = await makePki();

const dns = (text: string): Uint8Array => der(0x82, text);
const email = (text: string): Uint8Array => der(0x81, text);
const uri = (text: string): Uint8Array => der(0x86, text);
const ip = (...bytes: number[]): Uint8Array => der(0x87, Uint8Array.from(bytes));
const commonName = (text: string): Uint8Array =>
  der(0xa4, der(0x30, der(0x31, der(0x30, der(0x06, Uint8Array.of(0x55, 4, 3)), der(0x0c, text)))));

const V6 = [0x20, 1, 0xd, 0xb8, ...Array<number>(12).fill(0), 255, 255, 255, 255, ...Array<number>(12).fill(0)];

interface Constraints {
  readonly permitted?: readonly Uint8Array[];
  readonly excluded?: readonly Uint8Array[];
}

async function constrained(constraints: Constraints, names: readonly string[]): Promise<IssuedLeaf> {
  const issuer = await makeAuthority({ name: "Narrow", issuer: pki.root, extensions: [nameConstraints(constraints)] });
  return pki.issue({ issuer, names, subject: "constrained" });
}

function opensslVerifies({ leaf, chain }: IssuedLeaf): boolean {
  using dir = mkdtempDisposableSync(join(tmpdir(), "constraints-"));
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir.path, name), content);
    return join(dir.path, name);
  };
  const root = file("root.pem", pki.root.certificate.pem);
  return openssl([
    "verify",
    "-CAfile",
    root,
    "-untrusted",
    file("chain.pem", chain[1]?.pem ?? ""),
    file("leaf.pem", leaf.pem),
  ]).ok;
}

describe("name constraints are judged as openssl judges them", () => {
  test.each<[string, Constraints, string, boolean]>([
    ["the permitted domain itself", { permitted: [dns("example.com")] }, "example.com", true],
    ["below the permitted domain", { permitted: [dns("Example.COM")] }, "a.b.example.com", true],
    ["beside the permitted domain", { permitted: [dns("example.com")] }, "badexample.com", false],
    ["one of two permitted domains", { permitted: [dns("example.org"), dns("example.com")] }, "a.example.com", true],
    ["a wildcard in the permitted domain", { permitted: [dns("example.com")] }, "*.example.com", true],
    ["a wildcard above the permitted domain", { permitted: [dns("a.example.com")] }, "*.example.com", false],
    ["the excluded domain itself", { excluded: [dns("example.com")] }, "example.com", false],
    ["below the excluded domain", { excluded: [dns("example.com")] }, "a.example.com", false],
    ["beside the excluded domain", { excluded: [dns("example.com")] }, "example.org", true],
    ["excluded within permitted", { permitted: [dns("com")], excluded: [dns("x.com")] }, "a.x.com", false],
    ["every domain excluded", { excluded: [dns("")] }, "a.example.com", false],
    ["a name of a kind without constraints", { permitted: [dns("example.com")] }, "10.1.2.3", true],
    ["a permitted network", { permitted: [ip(10, 0, 0, 0, 255, 0, 0, 0)] }, "10.1.2.3", true],
    ["beside a permitted network", { permitted: [ip(10, 0, 0, 0, 255, 0, 0, 0)] }, "11.1.2.3", false],
    ["an excluded network", { excluded: [ip(10, 1, 0, 0, 255, 255, 0, 0)] }, "10.1.2.3", false],
    ["the other family than permitted", { permitted: [ip(10, 0, 0, 0, 255, 0, 0, 0)] }, "2001:db8::1", false],
    ["a permitted IPv6 network", { permitted: [ip(...V6)] }, "2001:db8::1", true],
    ["beside a permitted IPv6 network", { permitted: [ip(...V6)] }, "2001:db9::1", false],
    ["a permitted mailbox", { permitted: [email("Root@Example.com")] }, "Root@example.com", true],
    ["another mailbox", { permitted: [email("root@example.com")] }, "toor@example.com", false],
    ["a mailbox at a permitted host", { permitted: [email("example.com")] }, "root@example.com", true],
    ["a mailbox below a permitted host", { permitted: [email("example.com")] }, "root@a.example.com", false],
    ["a mailbox in a permitted domain", { permitted: [email(".example.com")] }, "root@a.example.com", true],
    ["a URI at a permitted host", { permitted: [uri("example.com")] }, "https://example.com:1/x", true],
    ["a URI below a permitted host", { permitted: [uri("example.com")] }, "https://a.example.com/", false],
    ["a URI in a permitted domain", { permitted: [uri(".example.com")] }, "spiffe://a.example.com/x", true],
    ["a URI with an address for a host", { permitted: [uri("example.com")] }, "https://10.0.0.1/", false],
    ["a URI without a host", { permitted: [uri("example.com")] }, "urn:example:com", false],
    ["a permitted subject", { permitted: [commonName("Constrained")] }, "example.com", true],
    ["another subject", { permitted: [commonName("other")] }, "example.com", false],
    ["an excluded subject", { excluded: [commonName("constrained")] }, "example.com", false],
    ["a constraint of a kind that the names have not", { permitted: [der(0x88, Uint8Array.of(42, 3))] }, "a.b", true],
  ])("%s", async (_, constraints, name, allowed) => {
    const issuedLeaf = await constrained(constraints, [name]);

    const result = arrangeChain(issuedLeaf.chain, pki.roots, Date.now());

    expect("fact" in result ? result.fact : "").toBe(
      allowed ? "" : `"Narrow" may not issue for ${label(constraints, name)} (name constraints)`,
    );
    expect(opensslVerifies(issuedLeaf)).toBe(allowed);
  });

  function label({ permitted = [], excluded = [] }: Constraints, name: string): string {
    const isSubject = [...permitted, ...excluded].some((base) => base[0] === 0xa4);
    return isSubject ? "its subject" : (parseName(name)?.value ?? "");
  }
});

test.each<[string, Uint8Array]>([
  ["a minimum", der(0x30, der(0xa0, der(0x30, dns("example.com"), der(0x80, Uint8Array.of(1)))))],
  ["a network of a wrong length", der(0x30, der(0xa1, der(0x30, ip(10, 0, 0))))],
])("name constraints with %s allow nothing", async (_, value) => {
  const x509 = await import("@peculiar/x509");
  const extension = new x509.Extension("2.5.29.30", true, Uint8Array.from(value));
  const make = async (): Promise<IssuedLeaf> =>
    pki.issue({
      names: ["web.internal", "10.0.0.1"],
      issuer: await makeAuthority({ name: "Narrow", issuer: pki.root, extensions: [extension] }),
    });

  const { chain } = await make();

  expect(arrangeChain(chain, pki.roots, Date.now())).toEqual({
    fact: '"Narrow" may not issue for anything, as they are unreadable (name constraints)',
  });
});

test("a wildcard that covers an excluded name is refused, though openssl lets it pass", async () => {
  const { chain } = await constrained({ excluded: [dns("secret.example.com")] }, ["*.example.com"]);

  expect(arrangeChain(chain, pki.roots, Date.now())).toMatchObject({ fact: expect.stringContaining("*.example.com") });
});

test("constraints of the root bind as well", async () => {
  const extensions = [nameConstraints({ permitted: [dns("example.com")] })];
  const root = await makeAuthority({ name: "Narrow Root", extensions });
  const intermediate = await makeAuthority({ issuer: root });
  const { chain } = await pki.issue({ issuer: intermediate, names: ["example.org"] });

  expect(arrangeChain(chain, [root.certificate], Date.now())).toEqual({
    fact: '"Narrow Root" may not issue for example.org (name constraints)',
  });
});

test("a certificate of thousands of names is not held against thousands of constraints", () => {
  const names = Array.from({ length: 2000 }, (_, at) => ({ type: "dns" as const, value: `n${at}.example.com` }));
  const constraints = der(0x30, der(0xa1, ...Array.from({ length: 2000 }, (_, at) => der(0x30, dns(`x${at}`)))));

  const violated = violatedConstraint(constraints, { names, otherNames: [], subjectDer: der(0x30) });

  expect(violated).toBe("2000 names under 2000 constraints");
});

test("a hundred names under three hundred constraints are judged", () => {
  const names = Array.from({ length: 100 }, (_, at) => ({ type: "dns" as const, value: `n${at}.example.com` }));
  const constraints = der(0x30, der(0xa1, ...Array.from({ length: 300 }, (_, at) => der(0x30, dns(`x${at}`)))));

  expect(violatedConstraint(constraints, { names, otherNames: [], subjectDer: der(0x30) })).toBeNull();
});
