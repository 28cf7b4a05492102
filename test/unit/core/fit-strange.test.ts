import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { MINUTE } from "../../../src/base/time.ts";
import { type Fitting, judgeChain } from "../../../src/core/fit.ts";
import { parseCertificate } from "../../../src/x509/certificate.ts";
import { parseKey } from "../../../src/x509/key.ts";
import { opensslText } from "../../servers/openssl.ts";
import { type Authority, makePki } from "../../servers/pki.ts";
import { misfit } from "./given.ts";

// Certificates that no honest tool makes, made by openssl, which does as it is told.
const pki = await makePki();

interface Order {
  /** Arguments of `openssl genpkey`. */
  readonly key: readonly string[];
  readonly sign?: readonly string[];
  readonly extensions?: readonly string[];
  readonly names?: string;
}

const P256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const curve = (name: string): string[] => ["-algorithm", "EC", "-pkeyopt", `ec_paramgen_curve:${name}`];
const rsa = (bits: number): string[] => ["-algorithm", "RSA", "-pkeyopt", `rsa_keygen_bits:${bits}`];

function issueWithOpenssl(
  { key, sign = [], extensions = [], names = "DNS:web.internal" }: Order,
  issuer: Authority,
): Fitting {
  using dir = mkdtempDisposableSync(join(tmpdir(), "strange-"));
  const file = (name: string, content: string): string => {
    writeFileSync(join(dir.path, name), content);
    return join(dir.path, name);
  };
  const keyPem = opensslText(["genpkey", ...key]);
  const csr = opensslText(["req", "-new", "-key", file("key", keyPem), "-subj", "/CN=web.internal"]);
  const signer = ["-CA", file("ca", issuer.certificate.pem), "-CAkey", file("ca-key", issuer.key.toPem())];
  const lines = [`subjectAltName=${names}`, "extendedKeyUsage=serverAuth,clientAuth", ...extensions];
  const ext = file("ext", lines.join("\n"));
  const leaf = parseCertificate(
    opensslText(["x509", "-req", "-in", file("csr", csr), ...signer, "-days", "2", "-extfile", ext, ...sign]),
  );
  return {
    request: {
      subject: "web.internal",
      names: [{ type: "dns", value: "web.internal" }],
      usages: ["server"],
      key: null,
    },
    key: parseKey(keyPem),
    chain: [leaf, issuer.certificate],
    roots: pki.roots,
    now: leaf.notBefore + MINUTE,
  };
}

test("an IPv4 address that stands in a certificate as one of sixteen bytes is not the IPv4 address", () => {
  const names = [
    { type: "dns", value: "web.internal" },
    { type: "ip", value: "10.0.0.1" },
  ] as const;
  const mapped = issueWithOpenssl({ key: P256, names: "DNS:web.internal,IP:::ffff:10.0.0.1" }, pki.root);
  const plain = issueWithOpenssl({ key: P256, names: "DNS:web.internal,IP:10.0.0.1" }, pki.root);
  const fits = (found: Fitting): string | null => misfit({ ...found, request: { ...found.request, names } });

  expect(fits(mapped)).toBe("it lacks 10.0.0.1 and also names IPv4 address in 16 bytes");
  expect(fits(plain)).toBeNull();
});

describe("a strange certificate is refused as an answer and for adoption", () => {
  test.each<[string, Order, string]>([
    ["RSA-1024", { key: rsa(1024) }, '"web.internal" has a weak key (RSA 1024)'],
    ["P-192", { key: curve("P-192") }, '"web.internal" has a weak key (EC prime192v1)'],
    ["SHA-1", { key: P256, sign: ["-sha1"] }, '"web.internal" is signed with ecdsa-with-SHA1, which can be forged'],
    [
      "a critical extension",
      { key: P256, extensions: ["1.2.3.4=critical,DER:0500"] },
      '"web.internal" has a critical extension that is not understood (1.2.3.4)',
    ],
    [
      "a kind of name that specs do not know",
      { key: P256, names: "DNS:web.internal,otherName:1.2.3;UTF8:x" },
      "it also names otherName",
    ],
    ["CA:TRUE", { key: P256, extensions: ["basicConstraints=CA:TRUE"] }, "it is a CA"],
    [
      "a newline and a priority in a name",
      { key: P256, names: "DNS:web.internal,DNS:a\\n<3>" },
      "it also names a\\n<3>",
    ],
  ])("%s", (_, order, fact) => {
    const fitting = issueWithOpenssl(order, pki.intermediate);

    expect(() => judgeChain(fitting)).toThrow(
      expect.objectContaining({
        code: "CHAIN_UNUSABLE",
        message: `Cannot use the certificate for "web.internal": ${fact}`,
      }),
    );
    expect(misfit(fitting)).toBe(fact);
  });

  test.each<[string, Order]>([
    ["P-521", { key: curve("P-521") }],
    ["RSA-2560", { key: rsa(2560) }],
    ["RSA 2048 with SHA-512", { key: rsa(2048), sign: ["-sha512"] }],
    ["an extension of another's that is not critical", { key: P256, extensions: ["1.2.3.4=DER:ff"] }],
  ])("but not %s", (_, order) => {
    const fitting = issueWithOpenssl(order, pki.intermediate);

    expect(judgeChain(fitting)).toHaveLength(2);
    expect(misfit(fitting)).toBeNull();
  });
});

test("a certificate with a thousand names is refused in a message of a reasonable length", () => {
  const names = Array.from({ length: 1000 }, (_, index) => `DNS:host-${index}.internal`).join(",");
  const fitting = issueWithOpenssl({ key: P256, names }, pki.intermediate);

  const refusal = (): string => {
    try {
      return String(judgeChain(fitting).length);
    } catch (error) {
      return (error as Error).message;
    }
  };

  expect(refusal()).toMatch(
    /^Cannot use the certificate for "web\.internal": it lacks web\.internal and also names .*…$/,
  );
  expect(refusal().length).toBeLessThan(600);
});
