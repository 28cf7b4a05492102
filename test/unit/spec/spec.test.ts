import { expect, test } from "vitest";
import { parseHost, parseSpec } from "./texts.ts";
import { FACTS, HOST } from "./world.ts";

const { host } = parseHost(Buffer.from(HOST), "certagent.yaml", FACTS);

function desired(text: string) {
  const result = parseSpec(Buffer.from(text), { name: "web", file: "/etc/certagent.d/web.yaml", host, facts: FACTS });
  if (result.desired === undefined) throw new Error(JSON.stringify(result.problems));
  return result.desired;
}

const PAIR = "outputs: [{ format: combined, path: /srv/web.pem }]\n";

test.each([
  ['"0640"', 0o640],
  ['"640"', 0o640],
  ["'0600'", 0o600],
  ['"0400"', 0o400],
])("mode %s is %o", (mode, bits) => {
  const [output] = desired(`subject: web.internal\noutputs: [{ format: key, path: /a, mode: ${mode} }]\n`).outputs;

  expect(output?.mode).toBe(bits);
});

test.each([
  ["u:nginx:r", { tag: "user", qualifier: "nginx", permissions: "r" }],
  ["user:nginx:r--", { tag: "user", qualifier: "nginx", permissions: "r" }],
  ["g:ssl-cert:rw", { tag: "group", qualifier: "ssl-cert", permissions: "rw" }],
  ["group:1000:rw-", { tag: "group", qualifier: "1000", permissions: "rw" }],
])("ACL entry %s is understood", (text, entry) => {
  const spec = `subject: web.internal\noutputs: [{ format: key, path: /a, mode: "0660", acl: ["${text}"] }]\n`;

  expect(desired(spec).outputs[0]?.acl).toEqual([entry]);
});

test("owner and group may be numbers", () => {
  const spec = "subject: web.internal\noutputs: [{ format: key, path: /a, owner: 33, group: '0' }]\n";

  expect(desired(spec).outputs[0]).toMatchObject({ owner: "33", group: "0" });
});

test("a mode that gives an ACL entry at least something is taken", () => {
  const spec = 'subject: web.internal\noutputs: [{ format: key, path: /a, mode: "0640", acl: ["u:nginx:rw"] }]\n';

  expect(desired(spec).outputs[0]?.mode).toBe(0o640);
});

test("names of every kind are taken, in canonical spelling, sorted and once", () => {
  const sans = '["WEB.internal", web.internal, "*.web.internal", 10.0.0.1, "::0001", "spiffe://x/y", ops@example.com]';

  expect(desired(`subject: web.internal\nsans: ${sans}\n${PAIR}`).request.names).toEqual([
    { type: "dns", value: "*.web.internal" },
    { type: "dns", value: "web.internal" },
    { type: "email", value: "ops@example.com" },
    { type: "ip", value: "10.0.0.1" },
    { type: "ip", value: "::1" },
    { type: "uri", value: "spiffe://x/y" },
  ]);
});

test("a subject that is no name is fine where there are sans", () => {
  expect(desired(`subject: Example Corporation\nsans: [example.com]\n${PAIR}`).request.subject).toBe(
    "Example Corporation",
  );
});

test("usages are a set", () => {
  expect(desired(`subject: web.internal\nusages: [client, server, client]\n${PAIR}`).request.usages).toEqual([
    "server",
    "client",
  ]);
});

test.each([
  ["key: { type: rsa-3072 }", "rsa-3072", false],
  ["key: { rotate: true }", null, true],
  ["key: {}", null, false],
])("%s is understood", (text, type, rotate) => {
  const spec = desired(`subject: web.internal\n${text}\n${PAIR}`);

  expect([spec.request.key, spec.rotate]).toEqual([type, rotate]);
});

test("a renewal may leave a sixth of the lifetime, and any span where the issuer decides the lifetime", () => {
  expect(desired(`subject: web.internal\nlifetime: 24h\nrenew: { before: 20h }\n${PAIR}`).renewBefore).toBe(72_000_000);
  expect(desired(`subject: web.internal\nrenew: { before: 30d }\n${PAIR}`).renewBefore).toBe(2_592_000_000);
});

test("the digest tells an edit from a re-read, comments included", () => {
  const [one, two, three] = ["", "", "# x\n"].map(
    (comment) => desired(`${comment}subject: web.internal\n${PAIR}`).digest,
  );

  expect(one).toBe(two);
  expect(one).not.toBe(three);
});

test("hooks and services are handed on as they stand", () => {
  const text = `subject: web.internal\n${PAIR}hooks: { before: [/bin/a, "b c"], failed: [/bin/f] }\nservices: [{ type: none }]\n`;

  expect(desired(text).hooks).toEqual({ before: ["/bin/a", "b c"], after: null, failed: ["/bin/f"] });
  expect(desired(text).services.map(({ type }) => type)).toEqual(["none"]);
});

test("without a host configuration the issuer is not judged", () => {
  const { problems } = parseSpec(Buffer.from(`subject: web.internal\nissuer: anything\n${PAIR}`), {
    name: "web",
    file: "web.yaml",
    host: undefined,
    facts: FACTS,
  });

  expect(problems).toEqual([]);
});

test("a spec without an issuer needs a default, and is told which issuers there are", () => {
  const bare = parseHost(Buffer.from(HOST.replace("default_issuer: internal\n", "")), "certagent.yaml", FACTS).host;

  const { problems } = parseSpec(Buffer.from(`subject: web.internal\n${PAIR}`), {
    name: "web",
    file: "web.yaml",
    host: bare,
    facts: FACTS,
  });

  expect(problems.map(({ message, hint }) => [message, hint])).toEqual([
    [
      "issuer is missing, and there is no default_issuer",
      "write issuer: internal, or default_issuer: in certagent.yaml",
    ],
  ]);
});
