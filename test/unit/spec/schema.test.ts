import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { z } from "zod";
import { parseYaml } from "../../../src/spec/parse.ts";
import { jsonSchema } from "../../../src/spec/schema.ts";
import type { ParseResult } from "../../../src/spec/source.ts";
import { parseHost, parseSpec } from "./texts.ts";
import { FACTS, HOST } from "./world.ts";

const validators = {
  host: z.fromJSONSchema(jsonSchema("host")),
  spec: z.fromJSONSchema(jsonSchema("spec")),
};

/** What an editor sees: the data without facts replaced. */
function dataOf(text: string | Buffer): unknown {
  const parsed: ParseResult = parseYaml(Buffer.from(text), "web.yaml", { fqdn: "${fqdn}", hostname: "${hostname}" });
  if (!("source" in parsed)) throw new Error(parsed.problems[0]?.message);
  return JSON.parse(JSON.stringify(parsed.source.data));
}

const { host } = parseHost(readFileSync("test/contract/certagent.yaml"), "certagent.yaml", FACTS);
const specs = ["test/contract/specs", "config/specs"].flatMap((folder) => {
  return readdirSync(folder).map((file) => `${folder}/${file}`);
});

test.each(specs)("the JSON Schema of specs takes %s just where certagent does", (file) => {
  const bytes = readFileSync(file);
  const { desired, problems } = parseSpec(bytes, { name: "web", file, host, facts: FACTS });
  // That an issuer is there, and can be used, is in another file.
  const isTaken = desired !== undefined || problems.every(({ key }) => key === "issuer");

  expect(validators.spec.safeParse(dataOf(bytes)).success).toBe(isTaken);
});

test("the JSON Schema of host configurations takes what certagent takes, and no kind that is to come", () => {
  expect(validators.host.safeParse(dataOf(HOST)).success).toBe(true);
  expect(validators.host.safeParse(dataOf(readFileSync("config/certagent.yaml"))).success).toBe(true);
  expect(validators.host.safeParse(dataOf(readFileSync("test/contract/certagent.yaml"))).success).toBe(false);
});

const OUTPUTS = "outputs: [{ format: combined, path: /srv/web.pem }]";

test.each([
  [
    "a fact in a text that has a pattern",
    `subject: web.internal\noutputs: [{ format: key, path: "\${hostname}" }]`,
    true,
  ],
  [
    "a fact as a server name",
    `subject: a\n${OUTPUTS}\nservices: [{ type: none, probe: { connect: "a:1", server_name: "\${fqdn}" } }]`,
    true,
  ],
  ["an unknown key", `subject: web.internal\nsubjct: a\n${OUTPUTS}`, false],
  ["an unknown key of a service", `subject: web.internal\n${OUTPUTS}\nservices: [{ type: none, prob: {} }]`, false],
  ["a mode without quotes", "subject: a\noutputs: [{ format: key, path: /a, mode: 0640 }]", false],
  ["a relative path", "subject: a\noutputs: [{ format: key, path: a }]", false],
  ["a duration without a unit", `subject: a\nlifetime: "30"\n${OUTPUTS}`, false],
  ["an ACL entry for running", 'subject: a\noutputs: [{ format: key, path: /a, acl: ["u:b:x"] }]', false],
  ["a path with ..", "subject: a\noutputs: [{ format: key, path: /a/../b }]", false],
  ["a path with a double slash", "subject: a\noutputs: [{ format: key, path: /a//b }]", false],
  ["a path that ends in a slash", "subject: a\noutputs: [{ format: key, path: /a/ }]", false],
  ["a path in /proc", "subject: a\noutputs: [{ format: key, path: /proc/a }]", false],
  ["a path with dots and blanks in names", 'subject: a\noutputs: [{ format: key, path: "/a b/..c/.d/dev/ü" }]', true],
  ["a setgid mode", 'subject: a\noutputs: [{ format: key, path: /a, mode: "2640" }]', false],
  ["a mode of five digits", 'subject: a\noutputs: [{ format: key, path: /a, mode: "00640" }]', true],
  ["an owner with a blank", 'subject: a\noutputs: [{ format: key, path: /a, owner: "a b" }]', false],
  ["an owner of a directory", "subject: a\noutputs: [{ format: key, path: /a, owner: alice@ad.example }]", true],
  [
    "names of Active Directory",
    "subject: a\noutputs: [{ format: key, path: /a, mode: '0640', group: 'AD\\domain users', acl: ['g:AD\\web:r'] }]",
    true,
  ],
  ["an owner of no directory", "subject: a\noutputs: [{ format: key, path: /a, owner: alice@ }]", false],
  ["an owner like an option", "subject: a\noutputs: [{ format: key, path: /a, owner: -s@ad.example }]", false],
  ["an owner with a colon", "subject: a\noutputs: [{ format: key, path: /a, owner: 'a:b@ad.example' }]", false],
  ["an owner by number", 'subject: a\noutputs: [{ format: key, path: /a, owner: 0, group: "4294967294" }]', true],
  [
    "an owner that is no number of a user",
    "subject: a\noutputs: [{ format: key, path: /a, owner: 4294967295 }]",
    false,
  ],
  ["an ACL entry that gives nothing", 'subject: a\noutputs: [{ format: key, path: /a, acl: ["u:b:---"] }]', false],
  ["a name with a last dot", `subject: a\nsans: [web.internal.]\n${OUTPUTS}`, false],
  ["a URI with a last dot", `subject: a\nsans: ["urn:example:a."]\n${OUTPUTS}`, true],
  ["a wildcard", `subject: a\nsans: ["*.web.internal", "*.例え。jp"]\n${OUTPUTS}`, true],
  ["a wildcard below a fact", 'subject: a\nsans: ["*.${fqdn}"]\n' + OUTPUTS, true],
  ["a wildcard in the middle", `subject: a\nsans: ["web.*.internal"]\n${OUTPUTS}`, false],
  ["a wildcard of a whole domain", `subject: a\nsans: ["*.internal"]\n${OUTPUTS}`, false],
  ["a label that begins with a hyphen", `subject: a\nsans: [-web.internal]\n${OUTPUTS}`, false],
  ["a label of nothing", `subject: a\nsans: [web..internal]\n${OUTPUTS}`, false],
  ["a name with its kind", `subject: a\nsans: ["DNS:web.internal"]\n${OUTPUTS}`, false],
  ["an address in brackets", `subject: a\nsans: ["[2001:db8::1]"]\n${OUTPUTS}`, false],
  [
    "names of all kinds",
    `subject: a\nsans: [a, b_c.d, bücher.example, 10.0.0.1, "2001:db8::1", "spiffe://e.internal/*", "a.b*@c.d", "dns://a/b"]\n${OUTPUTS}`,
    true,
  ],
  ["a lifetime of nothing", `subject: a\nlifetime: 0h\n${OUTPUTS}`, false],
  ["a lifetime with parts of nothing", `subject: a\nlifetime: 0d10h0.50m\n${OUTPUTS}`, true],
  ["port 0", `subject: a\n${OUTPUTS}\nservices: [{ type: none, probe: { connect: "a:0" } }]`, false],
  ["an ACL entry that says w before r", 'subject: a\noutputs: [{ format: key, path: /a, acl: ["u:b:wr"] }]', false],
  [
    "an ACL entry of setfacl's",
    'subject: a\noutputs: [{ format: combined, path: /a, acl: ["u:b:r--", "g:b:rw-", "user:c:-w-"] }]',
    true,
  ],
  ["an address without a port", `subject: a\n${OUTPUTS}\nservices: [{ type: none, probe: { connect: "a" } }]`, false],
  ["an IPv6 address", `subject: a\n${OUTPUTS}\nservices: [{ type: none, probe: { connect: "[::1]:1" } }]`, true],
  ["a timeout without a unit", `subject: a\n${OUTPUTS}\nservices: [{ type: none, timeout: "30" }]`, false],
  ["a timeout", `subject: a\n${OUTPUTS}\nservices: [{ type: none, timeout: 1m30s }]`, true],
  ["a socket", `subject: a\n${OUTPUTS}\nservices: [{ type: none, probe: { connect: /run/a.sock } }]`, true],
  ["no outputs", "subject: a", false],
])("the JSON Schema judges %s rightly", (_title, text, isTaken) => {
  expect(validators.spec.safeParse(dataOf(text)).success).toBe(isTaken);
});

test.each([
  ["metrics at no port", "metrics: { listen: 127.0.0.1 }", false],
  ["metrics at an IPv6 address", 'metrics: { listen: "[::1]:9469" }', true],
  ["a CA without TLS", "issuers: { a: { type: step-ca, url: http://ca.internal:9000 } }", false],
  ["a timeout without a unit", 'issuers: { a: { type: step-ca, timeout: "30" } }', false],
  ["a timeout", "issuers: { a: { type: step-ca, timeout: 1m30s } }", true],
  ["a CA with a path", "issuers: { a: { type: step-ca, url: https://ca.internal:9000/acme } }", false],
  ["a fingerprint that is too short", "issuers: { a: { type: step-ca, root: { fingerprint: abcd } } }", false],
  [
    "a fingerprint with colons",
    `issuers: { a: { type: step-ca, root: { fingerprint: "${"AB:".repeat(31)}AB" } } }`,
    true,
  ],
])("the JSON Schema of host configurations judges %s rightly", (_title, text, isTaken) => {
  const [whole, part] = [dataOf(HOST), dataOf(text)] as { issuers?: Record<string, object> }[];
  const issuer = Object.assign({}, whole?.issuers?.["internal"], part?.issuers?.["a"]);

  expect(validators.host.safeParse({ ...whole, ...part, issuers: { internal: issuer } }).success).toBe(isTaken);
});

test("no pattern of a JSON Schema takes facts twice", () => {
  const patterns = JSON.stringify([jsonSchema("host"), jsonSchema("spec")]).match(/"pattern":"[^"]*"/g) ?? [];

  expect(patterns.filter((pattern) => pattern.split("fqdn|hostname").length !== 2)).toEqual([]);
});

test("the JSON Schemas are of draft 2020-12, with a title and a description of every key", () => {
  for (const schema of [jsonSchema("host"), jsonSchema("spec")]) {
    expect(schema).toMatchObject({
      $schema: "https://json-schema.org/draft/2020-12/schema",
      title: expect.any(String),
    });
    for (const [key, value] of Object.entries(schema.properties ?? {})) {
      expect([key, (value as { description?: string }).description]).toEqual([key, expect.stringMatching(/\.$/)]);
    }
  }
});
