import { readdirSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { z } from "zod";
import { parseHost } from "../../../src/spec/host.ts";
import { type ParseResult, parseYaml } from "../../../src/spec/parse.ts";
import { jsonSchema } from "../../../src/spec/schema.ts";
import { parseSpec } from "../../../src/spec/spec.ts";
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
  ["no outputs", "subject: a", false],
])("the JSON Schema judges %s rightly", (_title, text, isTaken) => {
  expect(validators.spec.safeParse(dataOf(text)).success).toBe(isTaken);
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
