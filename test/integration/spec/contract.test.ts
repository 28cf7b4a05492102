/** The contract's files are accepted as they stand; what this version does not have yet is listed here, and only here. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LATER } from "../../../src/spec/later.ts";
import { formatProblem } from "../../../src/spec/problem.ts";
import { jsonSchema } from "../../../src/spec/schema.ts";
import { parseHost, parseSpec } from "../../unit/spec/texts.ts";

const facts = { fqdn: "vm1.internal", hostname: "vm1" };
const judged = parseHost(read("certagent.yaml"), "certagent.yaml", facts);
const { host, isSound } = judged;

function read(file: string): Buffer {
  return readFileSync(`test/contract/${file}`);
}

function parse(name: string) {
  return parseSpec(read(`specs/${name}.yaml`), { name, file: `/etc/certagent.d/${name}.yaml`, host, facts });
}

/** Kinds that are to come. This list only ever shrinks. */
const NOT_YET: Readonly<Record<string, readonly string[]>> = {
  "api-client": ["13:13: this version has no maintenance windows yet"],
  haproxy: ["6:11: this version has no service of type haproxy yet"],
  host: [],
  keystore: ["3:15: this version has no output of format pkcs12 yet"],
  mail: [
    "2:9: issuer letsencrypt cannot be used: this version has no issuer of type acme yet",
    "9:13: this version has no service of type postfix yet",
    "10:13: this version has no service of type dovecot yet",
  ],
  mariadb: ["8:11: this version has no service of type mariadb yet"],
  "node-exporter": [],
  postgres: [],
  redis: [],
  "vlc-admin": [],
  wildcard: [
    "2:9: issuer letsencrypt cannot be used: this version has no issuer of type acme yet",
    "5:1: this version has no challenges (ACME) yet",
  ],
};

describe("the contract's spec", () => {
  test.each(Object.entries(NOT_YET))("%s is accepted but for %j", (name, complaints) => {
    const { desired, problems, warnings } = parse(name);

    expect(problems.map(formatProblem)).toEqual(complaints.map((text) => `/etc/certagent.d/${name}.yaml:${text}`));
    expect(desired !== undefined).toBe(complaints.length === 0);
    expect(warnings).toEqual([]);
  });
});

test("every spec of the contract is in the list", () => {
  const names = readdirSync("test/contract/specs").map((file) => file.replace(/\.yaml$/, ""));

  expect(names.toSorted()).toEqual(Object.keys(NOT_YET).toSorted());
});

test("the contract's host configuration is accepted but for two issuers and metrics, and the third can be used", () => {
  expect(judged.problems.map(formatProblem)).toEqual([
    "certagent.yaml:28:13: this version has no provisioner of type x5c yet",
    "certagent.yaml:34:11: this version has no issuer of type acme yet",
  ]);
  expect(judged.warnings.map(formatProblem)).toEqual(["certagent.yaml:43:1: this version has no metrics yet"]);
  expect(isSound).toBe(true);
  expect([...(host?.issuers.keys() ?? [])]).toEqual(["internal"]);
  expect(host?.defaultIssuer).toBe("internal");
  expect(host?.metrics).toEqual({ listen: { host: "127.0.0.1", port: 9469 }, textfile: null });
});

test("a kind that is to come is a word of the contract, and none that this version has already", () => {
  const text = ["certagent.yaml", ...readdirSync("test/contract/specs").map((file) => `specs/${file}`)]
    .map((file) => read(file).toString())
    .join("");
  const schemas = JSON.stringify([jsonSchema("host"), jsonSchema("spec")]);

  for (const kind of LATER.flatMap(({ kinds }) => kinds ?? [])) {
    expect(`${text} crl apache`).toContain(kind);
    expect(schemas).not.toContain(`"const":"${kind}"`);
    expect(schemas).not.toContain(`"${kind}",`);
  }
});

test("every default of the contract is filled in", () => {
  const text =
    "subject: Web.Internal\noutputs:\n  - { format: fullchain, path: /a/crt }\n  - { format: key, path: /a/key }\n";

  const { desired } = parseSpec(Buffer.from(text), { name: "web", file: "/etc/certagent.d/web.yaml", host, facts });

  expect(desired).toMatchObject({
    name: "web",
    file: "/etc/certagent.d/web.yaml",
    request: {
      issuer: "internal",
      subject: "Web.Internal",
      names: [{ type: "dns", value: "web.internal" }],
      usages: ["server", "client"],
      lifetime: null,
      key: null,
    },
    rotate: false,
    renewBefore: null,
    layout: "files",
    outputs: [
      { path: "/a/crt", owner: null, group: null, mode: 0o644, acl: [] },
      { path: "/a/key", owner: null, group: null, mode: 0o600, acl: [] },
    ],
    services: [],
    hooks: { before: null, after: null, failed: null },
  });
  expect(desired?.digest).toMatch(/^[0-9a-f]{64}$/);
});

test("vlc-admin asks for its key with an ACL entry for nginx", () => {
  const outputs = parse("vlc-admin").desired?.outputs ?? [];

  expect(outputs[1]).toMatchObject({
    owner: "root",
    group: "root",
    mode: 0o640,
    acl: [{ tag: "user", qualifier: "nginx", permissions: "r" }],
  });
});

test("postgres asks for a day, renewed with eight hours left, and for its names sorted", () => {
  const { desired } = parse("postgres");

  expect(desired?.request.lifetime).toBe(24 * 3_600_000);
  expect(desired?.renewBefore).toBe(8 * 3_600_000);
  expect(desired?.request.names).toEqual([
    { type: "dns", value: "postgres.internal" },
    { type: "ip", value: "10.0.0.20" },
  ]);
  expect(desired?.services[0]?.probe?.address).toEqual({ host: "127.0.0.1", port: 5432 });
});

test("node-exporter and host are told apart by the facts of the host", () => {
  expect(parse("node-exporter").desired?.request.names.map(({ value }) => value)).toEqual(["vm1", "vm1.internal"]);
  expect(parse("host").desired?.outputs.map(({ path }) => path)).toEqual([
    "/etc/pki/tls/misc/vm1.internal.pem",
    "/etc/pki/tls/private/vm1.internal.pem",
  ]);
});
