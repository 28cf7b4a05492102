import { createPrivateKey, X509Certificate } from "node:crypto";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { FORMATS, formatNamed } from "../../../src/formats/index.ts";
import { loadCertificates } from "../../../src/x509/certificate.ts";
import { parseKey } from "../../../src/x509/key.ts";
import { openssl } from "../../servers/openssl.ts";
import { makePki } from "../../servers/pki.ts";

const pki = await makePki();
const second = await makePki("Second");
const { key, chain, leaf } = await pki.issue();
const generation = { key, chain, roots: [pki.root.certificate, second.root.certificate] };
const text = (name: string): string => Buffer.from(formatNamed(name)?.render(generation) ?? []).toString("latin1");

const golden: Readonly<Record<string, string>> = {
  certificate: new X509Certificate(leaf.der).toString(),
  chain: new X509Certificate(pki.intermediate.certificate.der).toString(),
  fullchain: `${new X509Certificate(leaf.der)}${new X509Certificate(pki.intermediate.certificate.der)}`,
  key: createPrivateKey(key.toPem()).export({ type: "pkcs8", format: "pem" }),
  combined: `${key.toPem()}${new X509Certificate(leaf.der)}${new X509Certificate(pki.intermediate.certificate.der)}`,
  roots: `${new X509Certificate(pki.root.certificate.der)}${new X509Certificate(second.root.certificate.der)}`,
};

test.each(FORMATS.map(({ name }) => name))(
  "%s is written as Node writes its parts, and ends with a newline",
  (name) => {
    expect(text(name)).toBe(golden[name]);
    expect(text(name).endsWith("-----\n")).toBe(true);
  },
);

test("exactly the formats of the contract that are built are there", () => {
  expect(FORMATS.map(({ name }) => name)).toEqual(["certificate", "chain", "fullchain", "key", "combined", "roots"]);
  expect(formatNamed("pkcs12")).toBeUndefined();
});

test.each(FORMATS)("$name says whether it holds the key", ({ name, holdsKey }) => {
  expect(text(name).includes("PRIVATE KEY")).toBe(holdsKey);
});

test("what is written is read back", () => {
  expect(loadCertificates(text("combined"))).toEqual(chain);
  expect(parseKey(text("combined")).keyId).toBe(leaf.keyId);
  expect(loadCertificates(text("roots"), "answer")).toEqual(generation.roots);
});

test("openssl takes the leaf of a combined file and its key for a pair", () => {
  const publicKey = (argv: string[]): string => openssl(argv, text("combined")).output;

  expect(publicKey(["pkey", "-pubout"])).toBe(publicKey(["x509", "-noout", "-pubkey"]));
});

describe("recognizes()", () => {
  test.each<[string, string | Uint8Array, boolean]>([
    ["every format's own output", golden["combined"] ?? "", true],
    ["PEM of another kind", "-----BEGIN DH PARAMETERS-----\nAAAA\n-----END DH PARAMETERS-----\n", true],
    ["torn PEM", (golden["key"] ?? "").slice(0, 60), true],
    ["PEM behind text", `Certificate:\n    Data:\n${leaf.pem}`, true],
    ["PEM with CRLF", leaf.pem.replaceAll("\n", "\r\n"), true],
    ["an empty file", "", false],
    ["/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n", false],
    ["PEM inside YAML", leaf.pem.replaceAll(/^/gm, "    "), false],
    ["PEM named in a sentence", "lines such as -----BEGIN CERTIFICATE----- begin a block\n", false],
    ["a binary that holds PEM", Buffer.concat([Buffer.of(0x7f, 0x45, 0), Buffer.from(`\n${leaf.pem}`)]), false],
    ["DER", leaf.der, false],
    ["a key of OpenSSH's", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n", false],
    ["a key of PGP's", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n-----END PGP PRIVATE KEY BLOCK-----\n", false],
  ])("%s: %#", (_, content, answer) => {
    const bytes = typeof content === "string" ? Buffer.from(content) : content;

    expect(FORMATS.map((format) => format.recognizes(bytes))).toEqual(FORMATS.map(() => answer));
  });

  test("answers for any bytes", () => {
    fc.assert(fc.property(fc.uint8Array(), (bytes) => typeof FORMATS[0]?.recognizes(bytes) === "boolean"));
  });
});
