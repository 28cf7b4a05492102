import { mkdtempDisposableSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../src/base/errors.ts";
import {
  allowsUsage,
  type Certificate,
  issued,
  loadCertificates,
  parseCertificate,
} from "../../../src/x509/certificate.ts";
import { readDer, readSequence } from "../../../src/x509/der.ts";
import { encodePem } from "../../../src/x509/pem.ts";
import { opensslText } from "../../servers/openssl.ts";
import { der, impostor, makeAuthority, makePki } from "../../servers/pki.ts";

/** A self-signed certificate made by openssl, which makes what no honest tool would. */
function selfSigned(key: readonly string[], digest: string, extensions: readonly string[] = []): Certificate {
  using dir = mkdtempDisposableSync(join(tmpdir(), "certificate-"));
  const config = join(dir.path, "openssl.cnf");
  const keyFile = join(dir.path, "key.pem");
  writeFileSync(config, `[req]\ndistinguished_name=dn\nx509_extensions=x\n[dn]\n[x]\n${extensions.join("\n")}\n`);
  writeFileSync(keyFile, opensslText(["genpkey", ...key]));
  const subject = ["-subj", "/O=Example, Inc/CN=web.internal", "-days", "2", "-config", config];
  return parseCertificate(opensslText(["req", "-x509", "-new", "-key", keyFile, digest, ...subject]));
}

const P256 = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
const rsa = (bits: number): string[] => ["-algorithm", "RSA", "-pkeyopt", `rsa_keygen_bits:${bits}`];

test("parseCertificate() reads the facts that openssl reads", async () => {
  const pki = await makePki();
  const { leaf, key } = await pki.issue({
    names: ["web.internal", "*.web.internal", "10.0.0.1", "2001:db8::1", "spiffe://a/b", "root@web.internal"],
    notBefore: Date.UTC(2020, 0, 2, 3, 4, 5),
    notAfter: Date.UTC(2051, 5, 7, 8, 9, 10),
    serial: "00c0ffee",
  });
  const text = opensslText(["x509", "-noout", "-fingerprint", "-sha256", "-serial", "-subject", "-dates"], leaf.pem);

  expect(text.toLowerCase().replaceAll(":", "")).toContain(leaf.fingerprint);
  expect(text).toContain(`serial=${leaf.serial.toUpperCase()}`);
  expect(leaf).toMatchObject({
    serial: "c0ffee",
    subject: "web.internal",
    subjectName: "CN=web.internal",
    issuerName: "CN=Test Intermediate",
    notBefore: Date.UTC(2020, 0, 2, 3, 4, 5),
    notAfter: Date.UTC(2051, 5, 7, 8, 9, 10),
    key: "ec-p256",
    keyId: key.keyId,
    weakKey: false,
    weakSignature: false,
    keyUsages: ["digitalSignature"],
    extendedKeyUsages: ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
    isAuthority: false,
    criticalUnknown: [],
    otherNames: [],
    selfIssued: false,
  });
  expect(leaf.names.map(({ type, value }) => `${type}:${value}`)).toEqual([
    "dns:web.internal",
    "dns:*.web.internal",
    "ip:10.0.0.1",
    "ip:2001:db8::1",
    "uri:spiffe://a/b",
    "email:root@web.internal",
  ]);
  expect(parseCertificate(leaf.der)).toEqual(leaf);
  expect(parseCertificate(leaf.pem)).toEqual(leaf);
});

test("parseCertificate() reads the extensions of an authority", async () => {
  const { root, intermediate } = await makePki();

  expect(root.certificate).toMatchObject({ isAuthority: true, pathLength: null, selfIssued: true });
  expect(intermediate.certificate).toMatchObject({
    isAuthority: true,
    pathLength: 0,
    selfIssued: false,
    keyUsages: ["keyCertSign", "cRLSign"],
  });
});

test("a certificate without a subject has an empty one, and is named by its SAN", async () => {
  const { leaf } = await (await makePki()).issue({ subject: null });

  expect(leaf).toMatchObject({ subject: "", subjectName: "", criticalUnknown: [] });
  expect(leaf.names).toEqual([{ type: "dns", value: "web.internal" }]);
});

describe("weak certificates are recognised", () => {
  test.each<[string, string[], string, Partial<Certificate>]>([
    ["RSA-1024", rsa(1024), "-sha256", { keyLabel: "RSA 1024", weakKey: true, weakSignature: false, key: "other" }],
    ["RSA-2048", rsa(2048), "-sha256", { keyLabel: "RSA 2048", weakKey: false, weakSignature: false, key: "rsa-2048" }],
    ["SHA-1", P256, "-sha1", { signatureAlgorithm: "ecdsa-with-SHA1", weakSignature: true, weakKey: false }],
    ["SHA-1 with RSA", rsa(2048), "-sha1", { signatureAlgorithm: "sha1WithRSAEncryption", weakSignature: true }],
    ["MD5 with RSA", rsa(2048), "-md5", { signatureAlgorithm: "md5WithRSAEncryption", weakSignature: true }],
    ["SHA-512", P256, "-sha512", { signatureAlgorithm: "ecdsa-with-SHA512", weakSignature: false }],
    ["P-192", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-192"], "-sha256", { weakKey: true }],
    ["P-521", ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"], "-sha512", { weakKey: false, key: "other" }],
    ["Ed25519", ["-algorithm", "ED25519"], "-sha256", { signatureAlgorithm: "ED25519", weakSignature: false }],
  ])("%s", (_, key, digest, facts) => {
    expect(selfSigned(key, digest)).toMatchObject(facts);
  });

  test.each([
    ["sha256", false],
    ["sha1", true],
  ])("RSASSA-PSS over %s: weak is %s", (digest, weakSignature) => {
    using dir = mkdtempDisposableSync(join(tmpdir(), "pss-"));
    const keyFile = join(dir.path, "key.pem");
    writeFileSync(keyFile, opensslText(["genpkey", ...rsa(2048)]));
    const pss = ["-sigopt", "rsa_padding_mode:pss", `-${digest}`];

    const pem = opensslText(["req", "-x509", "-new", "-key", keyFile, "-subj", "/CN=a", ...pss]);

    expect(parseCertificate(pem)).toMatchObject({ weakSignature, keyLabel: "RSA 2048" });
  });
});

test("names and critical extensions that specs do not know are named", () => {
  const certificate = selfSigned(P256, "-sha256", [
    "subjectAltName=otherName:1.2.3;UTF8:x,RID:1.2.3,dirName:d,DNS:Web.Internal",
    "1.2.3.4=critical,DER:0500",
    "1.2.3.5=DER:ff",
    "certificatePolicies=critical,1.2.3",
    "policyConstraints=critical,requireExplicitPolicy:0",
    "[d]\nCN=x",
  ]);

  expect(certificate.otherNames).toEqual(["otherName", "registeredID", "directoryName"]);
  expect(certificate.names).toEqual([{ type: "dns", value: "web.internal" }]);
  expect(certificate.criticalUnknown).toEqual(["1.2.3.4", "2.5.29.36"]);
  expect(certificate.subjectName).toBe("O=Example\\, Inc, CN=web.internal");
});

test("allowsUsage() takes an absent extension and anyExtendedKeyUsage for everything", async () => {
  const pki = await makePki();
  const allowed = async (usages: readonly string[] | null): Promise<boolean[]> => {
    const { leaf } = await pki.issue({ usages });
    return [allowsUsage(leaf, "server"), allowsUsage(leaf, "client")];
  };

  expect(await allowed(null)).toEqual([true, true]);
  expect(await allowed(["2.5.29.37.0"])).toEqual([true, true]);
  expect(await allowed(["server"])).toEqual([true, false]);
  expect(await allowed(["1.3.6.1.5.5.7.3.9"])).toEqual([false, false]);
});

describe("issued()", async () => {
  const [pki, namesake] = [await makePki(), await makePki()];
  const { leaf } = await pki.issue();
  const { leaf: sibling } = await pki.issue();
  const edwards = await makeAuthority({ name: "Test Intermediate", key: "ed25519" });

  test.each([
    ["the intermediate of the leaf", leaf, pki.intermediate.certificate, true],
    ["the root of the intermediate", pki.intermediate.certificate, pki.root.certificate, true],
    ["the root of itself", pki.root.certificate, pki.root.certificate, true],
    ["the root of the leaf", leaf, pki.root.certificate, false],
    ["an intermediate of the same name with another key", leaf, namesake.intermediate.certificate, false],
    ["one of the same name with a key of another kind", leaf, edwards.certificate, false],
    ["a leaf of another", sibling, leaf, false],
    ["a leaf of itself", leaf, leaf, false],
  ])("%s: %#", (_, child, parent, answer) => {
    expect(issued(child, parent)).toBe(answer);
  });
});

describe("what is no certificate", async () => {
  const pki = await makePki();
  const honest = await pki.issue();
  const { leaf, key, pem } = honest;
  const forged = await impostor(honest, await makePki("Evil"), { names: ["mail.internal"] });
  const signed = readSequence(readDer(leaf.der))
    .slice(0, 2)
    .map(({ encoding }) => encoding);
  const unreadable = "Cannot read a certificate: ";

  test.each<[string, () => unknown, string]>([
    ["no block", () => loadCertificates("just text\n"), `${unreadable}there is none in the text`],
    ["two where one belongs", () => parseCertificate(pem), `${unreadable}there are 2 in one text`],
    ["a key where the CA answers", () => loadCertificates(key.toPem(), "answer"), "Cannot read PEM: a block"],
    ["bytes behind the end", () => parseCertificate(Buffer.concat([leaf.der, Buffer.of(0)])), `${unreadable}there are`],
    ["PEM as DER", () => parseCertificate(Buffer.from(leaf.pem)), unreadable],
    ["another one as PEM in it", () => parseCertificate(forged), `${unreadable}OpenSSL reads another certificate`],
    ["70 kB", () => parseCertificate(Buffer.alloc(70_000, 48)), `${unreadable}70000 bytes are more than 65536`],
    [
      "no bits for a signature",
      () => parseCertificate(der(0x30, ...signed, der(4, "x"))),
      `${unreadable}OpenSSL cannot`,
    ],
    ["a request", () => parseCertificate(encodePem("CERTIFICATE", Buffer.from("3003020101", "hex"))), unreadable],
  ])("is refused: %s", (_, read, message) => {
    expect(read).toThrow(message);
    expect(read).toThrow(expect.objectContaining({ code: "CHAIN_UNUSABLE" }));
  });

  test("throws nothing but CHAIN_UNUSABLE for a certificate with any bytes changed", () => {
    const change = fc.tuple(fc.nat(leaf.der.length - 1), fc.nat(255));
    fc.assert(
      fc.property(fc.array(change, { minLength: 1, maxLength: 4 }), fc.nat(leaf.der.length), (changes, cut) => {
        const bytes = Uint8Array.from(leaf.der);
        for (const [at, byte] of changes) bytes[at] = byte;
        try {
          parseCertificate(cut % 4 === 0 ? bytes.subarray(0, cut) : bytes);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(AgentError);
          expect(thrown).toMatchObject({ code: "CHAIN_UNUSABLE" });
        }
      }),
      { numRuns: 2000 },
    );
  });
});

test("loadCertificates() passes over text and keys in a file", async () => {
  const { pem, key, chain } = await (await makePki()).issue();

  expect(loadCertificates(`${key.toPem()}# leaf\n${pem}`)).toEqual(chain);
  expect(loadCertificates(Buffer.from(pem))).toEqual(chain);
});
