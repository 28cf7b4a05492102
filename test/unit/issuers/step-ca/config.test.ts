import { expect, test } from "vitest";
import { z } from "zod";
import { issuerSchema } from "../../../../src/issuers/index.ts";

const provisioner = { type: "jwk", name: "vm-hosts", password: { credential: "provisioner-password" } };
const root = { file: "/etc/certagent/root_ca.crt" };
const entry = { type: "step-ca", url: "https://ca.internal:9000", root, provisioner };

/** `path: message` of each complaint. */
function complaints(value: unknown): readonly string[] {
  const issues = issuerSchema.safeParse(value).error?.issues ?? [];
  return issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

test("an entry means its addresses, its trust anchors and where its one secret is", () => {
  expect(issuerSchema.parse(entry)).toEqual({
    type: "step-ca",
    urls: ["https://ca.internal:9000"],
    root,
    provisioner: {
      type: "jwk",
      name: "vm-hosts",
      secret: { kind: "password", source: { credential: "provisioner-password" } },
    },
    timeout: 30_000,
  });
});

test.each([
  ["password", { file: "/run/p", delete_after_use: true }, { file: "/run/p", deleteAfterUse: true }],
  ["token", { file: "/run/t" }, { file: "/run/t", deleteAfterUse: false }],
  ["key", { credential: "jwk" }, { credential: "jwk" }],
])("the secret may be a %s", (kind, written, source) => {
  const parsed = issuerSchema.parse({ ...entry, provisioner: { type: "jwk", name: "x", [kind]: written } });

  expect(parsed.provisioner.secret).toEqual({ kind, source });
});

test("a fingerprint may be written with colons and in capitals", () => {
  const written = Array.from({ length: 32 }, () => "AB").join(":");

  expect(issuerSchema.parse({ ...entry, root: { fingerprint: written } }).root).toEqual({
    fingerprint: "ab".repeat(32),
  });
});

test.each([
  ["https://CA.Internal:9000", "https://CA.Internal:9000"],
  ["HTTPS://CA.Internal/", "https://CA.Internal"],
  ["https://ca.internal:443", "https://ca.internal"],
  ["https://[0:0:0:0:0:0:0:1]:9000", "https://[::1]:9000"],
  ["https://bücher.internal", "https://xn--bcher-kva.internal"],
])("the address %s is kept as %s", (url, kept) => {
  expect(issuerSchema.parse({ ...entry, url }).urls).toEqual([kept]);
});

const jwk = { type: "jwk", name: "x" };
const file = "/run/secret";

test.each<[string, unknown, string]>([
  ["an unknown key", { ...entry, ulr: 1 }, ': Unrecognized key: "ulr"'],
  ["no address", { ...entry, url: undefined }, ": needs exactly one of: url, urls"],
  ["two kinds of address", { ...entry, urls: ["https://a"] }, ": needs exactly one of: url, urls"],
  ["plain http", { ...entry, url: "http://ca" }, "url: a CA is spoken to over https only, not http"],
  ["a path", { ...entry, url: "https://ca/x" }, "url: a CA's URL has no path; write https://HOST:PORT"],
  ["a password in the URL", { ...entry, url: "https://a:b@ca" }, "url: a CA's URL carries no user or password"],
  ["a password in what is no URL", { ...entry, url: " https://a:b@ca" }, "url: a CA's URL carries no user or password"],
  ["no URL", { ...entry, url: "ca.internal:9000" }, 'url: "ca.internal:9000" is no URL; write https://HOST:PORT'],
  ["no trust", { ...entry, root: {} }, "root: needs a file, a fingerprint, or both"],
  [
    "half a fingerprint",
    { ...entry, root: { fingerprint: "abcd" } },
    "root.fingerprint: must be a SHA-256 fingerprint of 64 hex digits",
  ],
  ["no secret", { ...entry, provisioner: jwk }, "provisioner: needs exactly one of: password, token, key"],
  [
    "two secrets",
    { ...entry, provisioner: { ...jwk, password: { file }, key: { file } } },
    "provisioner: needs exactly one of: password, token, key, not password and key",
  ],
  [
    "a secret in two places",
    { ...entry, provisioner: { ...jwk, key: { file, credential: "x" } } },
    "provisioner.key: needs exactly one of: file, credential",
  ],
  [
    "a credential to delete",
    { ...entry, provisioner: { ...jwk, key: { credential: "x", delete_after_use: true } } },
    "provisioner.key.delete_after_use: a credential is systemd's and cannot be deleted; delete_after_use goes with file",
  ],
  [
    "a credential outside its folder",
    { ...entry, provisioner: { ...jwk, key: { credential: "../shadow" } } },
    "provisioner.key.credential: must be a credential's name: letters, digits and _.-",
  ],
  [
    "a relative path",
    { ...entry, provisioner: { ...jwk, key: { file: "secret" } } },
    "provisioner.key.file: must be an absolute path",
  ],
  [
    "a proxy of TLS",
    { ...entry, proxy: "https://p" },
    "proxy: a proxy is written http://HOST:PORT, without a user or a path",
  ],
  [
    "a timeout without a unit",
    { ...entry, timeout: "30" },
    'timeout: "30" is no duration of an hour at most; write 30s',
  ],
  ["a timeout of weeks", { ...entry, timeout: "30d" }, 'timeout: "30d" is no duration of an hour at most; write 30s'],
  [
    "a timeout of nothing",
    { ...entry, timeout: "0.4ms" },
    'timeout: "0.4ms" is no duration of an hour at most; write 30s',
  ],
])("%s is complained about at its place", (_, value, complaint) => {
  expect(complaints(value)).toEqual([complaint]);
});

/** The paths of the keys in a JSON Schema that say nothing of themselves. */
function silent(schema: z.core.JSONSchema._JSONSchema, path = ""): readonly string[] {
  if (typeof schema === "boolean") return [];
  const inner = [...(schema.oneOf ?? []), ...(schema.anyOf ?? [])].flatMap((branch) => silent(branch, path));
  const own = Object.entries(schema.properties ?? {}).flatMap(([key, property]) => {
    const described = typeof property === "object" && property.description !== undefined;
    return [...(described ? [] : [`${path}.${key}`]), ...silent(property, `${path}.${key}`)];
  });
  return [...inner, ...own];
}

test("the JSON Schema for editors describes every key as operators write it", () => {
  const schema = z.toJSONSchema(issuerSchema, { io: "input" });

  expect(silent(schema)).toEqual([]);
  expect(JSON.stringify(schema)).toContain('"delete_after_use"');
});
