import fc from "fast-check";
import { expect, test } from "vitest";
import { createCsr, cryptoKeys } from "../../../src/x509/csr.ts";
import { generateKey, KEY_ALGORITHMS, parseKey } from "../../../src/x509/key.ts";
import { type Name, parseName } from "../../../src/x509/name.ts";
import { openssl, opensslText } from "../../servers/openssl.ts";

const names = ["web.internal", "*.web.internal", "root@web.internal", "10.0.0.1", "2001:db8::1", "spiffe://a/b"].map(
  (text) => parseName(text) as Name,
);

test.each(KEY_ALGORITHMS)("createCsr() signs a request of a %s key so that openssl verifies it", async (algorithm) => {
  const key = await generateKey(algorithm);

  const csr = await createCsr({ subject: "web.internal", names, usages: ["server", "client"] }, key);

  const { ok, output } = openssl(["req", "-verify", "-noout", "-text", "-nameopt", "RFC2253"], csr);
  expect(ok, output).toBe(true);
  expect(output).toContain("Subject: CN=web.internal\n");
  expect(output).toContain(
    "DNS:web.internal, DNS:*.web.internal, email:root@web.internal, IP Address:10.0.0.1, IP Address:2001:DB8:0:0:0:0:0:1, URI:spiffe://a/b",
  );
  expect(output).toContain("TLS Web Server Authentication, TLS Web Client Authentication");
  expect(opensslText(["req", "-noout", "-pubkey"], csr)).toBe(opensslText(["pkey", "-pubout"], key.toPem()));
});

test("createCsr() writes PEM of one block, with a final newline", async () => {
  const csr = await createCsr({ subject: "a", names }, await generateKey("ed25519"));

  expect(csr).toMatch(/^-----BEGIN CERTIFICATE REQUEST-----\n[A-Za-z0-9+/=\n]+\n-----END CERTIFICATE REQUEST-----\n$/);
});

test.each([
  ["64 characters", "a".repeat(64), `CN=${"a".repeat(64)}`],
  ["65 characters", "a".repeat(65), ""],
  ["what would be DER in hex", "#0c0161", "CN=\\#0c0161"],
  ["what would be several attributes", "a,O=b+C=c", "CN=a\\,O=b\\+C=c"],
])("createCsr() writes a subject of %s as one common name or none", async (_, subject, printed) => {
  const csr = await createCsr({ subject, names }, await generateKey("ec-p256"));

  expect(opensslText(["req", "-noout", "-subject", "-nameopt", "RFC2253"], csr).trim()).toBe(`subject=${printed}`);
});

test("createCsr() leaves out the usages that nobody asked for", async () => {
  const csr = await createCsr({ subject: "a", names }, await generateKey("ec-p256"));

  expect(opensslText(["req", "-noout", "-text"], csr)).not.toContain("Extended Key Usage");
});

test("createCsr() writes every name that parseName() takes", async () => {
  const key = await generateKey("ed25519");
  const text = fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6(), fc.webUrl(), fc.emailAddress());
  await fc.assert(
    fc.asyncProperty(fc.array(text, { minLength: 1, maxLength: 10 }), async (texts) => {
      const some = texts.flatMap((each) => parseName(each) ?? []);
      fc.pre(some.length > 0);

      const { ok, output } = openssl(
        ["req", "-verify", "-noout", "-text"],
        await createCsr({ subject: "a", names: some }, key),
      );

      expect(ok, output).toBe(true);
      for (const { type, value } of some) if (type === "dns") expect(output).toContain(`DNS:${value}`);
    }),
    { numRuns: 20 },
  );
});

test("a key of a kind that specs do not know signs no request", () => {
  const other = parseKey(opensslText(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]));

  expect(() => cryptoKeys(other)).toThrow("the key is of a kind that specs do not know");
});
