/** Whatever the bytes, a file is parsed or complained about, in less than a second and in certagent's own words. */
import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { expect, test } from "vitest";
import { LARGEST_FILE } from "../../../src/spec/source.ts";
import { parseHost, parseSpec } from "../../unit/spec/texts.ts";

const facts = { fqdn: "vm1.internal", hostname: "vm1" };
const hostBytes = readFileSync("test/contract/certagent.yaml");
const host = parseHost(hostBytes, "certagent.yaml", facts).host;
const samples = [
  hostBytes,
  ...readdirSync("test/contract/specs").map((file) => readFileSync(`test/contract/specs/${file}`)),
];

function judge(bytes: Uint8Array): void {
  // Processor time: the machine may be busy with other tests.
  const begun = process.cpuUsage();
  const results = [
    parseSpec(bytes, { name: "web", file: "web.yaml", host, facts }),
    parseHost(bytes, "certagent.yaml", facts),
  ];

  const { user, system } = process.cpuUsage(begun);
  expect((user + system) / 1000 / results.length).toBeLessThan(1000);
  for (const { problems } of results) {
    expect(problems.length).toBeLessThanOrEqual(31);
    for (const { message, hint, line, column } of problems) {
      expect(`${message} ${hint}`).not.toMatch(/Invalid input|received|undefined|\[object|NaN|\n\s*at /);
      expect(message).not.toMatch(/\p{Cc}/u);
      expect(line === null || (line >= 1 && (column ?? 0) >= 1)).toBe(true);
    }
  }
  const [spec] = results;
  expect(spec !== undefined && "desired" in spec && (spec.desired !== undefined) === (spec.problems.length === 0)).toBe(
    true,
  );
}

test("random bytes are never more than refused", () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 4096 }), judge), { numRuns: 500 });
});

const indicators = [
  ...Array.from("-?:,[]{}#&*!|>'\"%@`~$<=.\n \t0aé"),
  "\r\n",
  "- ",
  ": ",
  "? ",
  "---\n",
  "...\n",
  "<<: ",
  "!!str ",
  "${",
];

test("random runs of YAML's own characters are never more than refused", () => {
  const text = fc.array(fc.constantFrom(...indicators), { maxLength: 400 }).map((parts) => parts.join(""));

  fc.assert(
    fc.property(text, (yaml) => judge(Buffer.from(yaml))),
    { numRuns: 3000 },
  );
});

const splice = fc.record({
  sample: fc.constantFrom(...samples),
  at: fc.nat(),
  remove: fc.nat(40),
  insert: fc.oneof(
    fc.constantFrom(...indicators),
    fc.string({ unit: "binary", maxLength: 12 }),
    fc.constantFrom(
      "null",
      "true",
      "0640",
      "1e999",
      "-1",
      "[]",
      "{}",
      "__proto__",
      "constructor",
      "${fqdn}",
      "9".repeat(400),
    ),
  ),
});

test("mutations of the contract's files are never more than refused", () => {
  const property = fc.property(
    splice,
    fc.array(fc.record({ at: fc.nat(), byte: fc.nat(255) }), { maxLength: 3 }),
    (cut, flips) => {
      const { sample, remove, insert } = cut;
      const at = cut.at % sample.length;
      const bytes = Buffer.concat([sample.subarray(0, at), Buffer.from(insert), sample.subarray(at + remove)]);
      for (const flip of flips) bytes[flip.at % bytes.length] = flip.byte;
      judge(bytes);
    },
  );

  fc.assert(property, { numRuns: 2000 });
});

const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "medium" },
    fc.constant(null),
    fc.boolean(),
    fc.double(),
    fc.integer(),
    fc.string({ unit: "grapheme", maxLength: 20 }),
    fc.constantFrom(
      "24h",
      "0640",
      "web.internal",
      "/etc/x",
      "u:a:r",
      "key",
      "nginx",
      "jwk",
      "step-ca",
      "server",
      "127.0.0.1:1",
    ),
    fc.array(tie("any"), { maxLength: 4 }),
    fc.dictionary(fc.constantFrom(...keys()), tie("any"), { maxKeys: 6 }),
  ),
})).any;

function keys(): string[] {
  const words = samples.flatMap((sample) =>
    [...sample.toString().matchAll(/([a-z_-]+):/g)].map(([, word = ""]) => word),
  );
  return [...new Set([...words, "__proto__", "toString"])];
}

test("any data under the known keys is never more than refused", () => {
  const top = fc.dictionary(fc.constantFrom(...keys()), value, { minKeys: 1, maxKeys: 8 });

  fc.assert(
    fc.property(top, (data) => judge(Buffer.from(JSON.stringify(data)))),
    { numRuns: 3000 },
  );
});

const whole = (piece: string): string => piece.repeat(Math.ceil(LARGEST_FILE / piece.length)).slice(0, LARGEST_FILE);

test.each([
  ["brackets", whole("[")],
  ["braces", whole("{")],
  ["pairs in braces", whole('{["a": ')],
  ["dashes", whole("- ")],
  ["question marks", whole("? ")],
  ["colons", whole(": ")],
  ["commas", `[${whole(",").slice(1)}`],
  ["keys in one line", whole("a: ")],
  [
    "flat keys",
    Array.from({ length: 9000 }, (_, i) => `k${i}:\n`)
      .join("")
      .slice(0, LARGEST_FILE),
  ],
  ["equal keys", whole("a: 1\n")],
  ["long keys", whole(`${"k".repeat(1000)}: 1\n`)],
  ["unknown keys in a list", `subject: x\noutputs: [${whole("{a: 1},").slice(30)}`],
  ["entries of a list", `subject: x\nsans: [${whole("a b,").slice(30)}`],
  ["an open quote", `"${whole("a\n").slice(1)}`],
  ["backslashes", `"${whole("\\").slice(1)}`],
  ["a folded block", `a: >\n${whole(" a\n\n").slice(6)}`],
  ["line ends", whole("\n")],
  ["blanks", whole(" ")],
  ["tabs", whole("\t")],
  ["comments", whole("#\n")],
  ["documents", whole("---\n")],
  ["aliases", whole("*a ")],
  ["anchors", whole("&a ")],
  ["tags", whole("! ")],
  ["directives", whole("%a\n")],
  ["facts", `subject: ${whole("${").slice(9)}`],
  ["closed facts", `subject: "${whole("${fqdn}").slice(20)}"`],
  ["one long number", whole("9")],
  ["one long word", `subject: ${whole("a").slice(9)}`],
  ["one long name", `sans: [${whole("a.").slice(9)}]`],
  ["one long duration", `lifetime: ${whole("1h").slice(10)}`],
  ["one long command", `hooks: { after: "${whole("a ").slice(30)}" }`],
])("64 KiB of %s take less than a second", (_title, text) => {
  judge(Buffer.from(text.slice(0, LARGEST_FILE)));
});
