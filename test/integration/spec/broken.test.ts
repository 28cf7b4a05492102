import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { Problem } from "../../../src/spec/problem.ts";
import { parseHost, parseSpec } from "../../unit/spec/texts.ts";

const facts = { fqdn: "vm1.internal", hostname: "vm1" };
const host = parseHost(readFileSync("test/contract/certagent.yaml"), "certagent.yaml", facts).host;

/** Sections of `=== title`, the file, `>>>`, and the complaints as {@link say} writes them. */
function cases(file: string): { title: string; text: string; complaints: string }[] {
  const sections = readFileSync(join(import.meta.dirname, file), "utf8")
    .split(/^=== /m)
    .slice(1);
  return sections.map((section) => {
    const [, title = "", text = "", complaints = ""] = /^(.*)\n([^]*?)^>>>\n([^]*)$/m.exec(section) ?? [];
    return { title, text, complaints };
  });
}

function say(problems: readonly Problem[]): string {
  return problems
    .map(({ line, column, key, message, hint }) => {
      const place = line === null ? "whole file" : `${line}:${column}`;
      return `${place} ${key || "."} | ${message}\n${hint === null ? "" : `  hint: ${hint}\n`}`;
    })
    .join("");
}

function judgeSpec(bytes: Uint8Array): readonly Problem[] {
  return parseSpec(bytes, { name: "web", file: "web.yaml", host, facts }).problems;
}

const specs = cases("broken-specs.txt");
const hosts = cases("broken-hosts.txt");

describe("a broken spec is refused with what is wrong, where, and what to write:", () => {
  test.each(specs)("$title", ({ text, complaints }) => {
    const problems = judgeSpec(Buffer.from(text));

    expect(say(problems)).toBe(complaints);
    expect(problems).not.toEqual([]);
    expect(problems.every(({ file }) => file === "web.yaml")).toBe(true);
  });
});

describe("a broken host configuration is refused with what is wrong, where, and what to write:", () => {
  test.each(hosts)("$title", ({ text, complaints }) => {
    const { problems } = parseHost(Buffer.from(text), "certagent.yaml", facts);

    expect(say(problems)).toBe(complaints);
    expect(problems).not.toEqual([]);
  });
});

const good = "subject: web.internal\noutputs:\n  - { format: combined, path: /etc/web/tls.pem }\n";
const many = (count: number, line: (index: number) => string) =>
  Array.from({ length: count }, (_, i) => line(i)).join("");

const bytes: readonly (readonly [title: string, bytes: Uint8Array, complaints: string])[] = [
  ["nothing at all", Buffer.from(""), "1:1 . | the file is empty\n"],
  ["a single null", Buffer.from("~\n"), "1:1 . | the file is empty\n"],
  ["a NUL", Buffer.from(`${good}# \0\n`), "4:3 . | the file has a control character (U+0000)\n  hint: remove it\n"],
  [
    "an escape sequence for terminals",
    Buffer.from(`# \x1b[2J\n${good}`),
    "1:3 . | the file has a control character (U+001B)\n  hint: remove it\n",
  ],
  [
    "a mark that reverses the order of reading",
    Buffer.from(good.replace("tls", "\u202eslt")),
    "3:40 . | the file has a control character (U+202E)\n  hint: remove it\n",
  ],
  [
    "the line ends of old Macs",
    Buffer.from(good.replaceAll("\n", "\r")),
    "1:22 . | the file has a control character (U+000D)\n  hint: remove it\n",
  ],
  [
    "Latin-1",
    Buffer.from("subject: m\xfcller.internal\n", "latin1"),
    "1:11 . | the file is not UTF-8\n  hint: save it as UTF-8\n",
  ],
  ["UTF-16", Buffer.from(`\ufeff${good}`, "utf16le"), "1:1 . | the file is not UTF-8\n  hint: save it as UTF-8\n"],
  [
    "one byte more than is read",
    Buffer.from(good.padEnd(65_537, "#")),
    "whole file . | the file has 65537 bytes; at most 65536 are read\n",
  ],
  ["too many keys", Buffer.from(many(600, (i) => `k${i}: 1\n`)), "513:1 k512 | more than 512 keys\n"],
  [
    "too many list entries",
    Buffer.from(`subject: web.internal\nsans: [${many(3000, (i) => `w${i},`)}]\n`),
    "2:7 sans | more than 2048 list entries\n",
  ],
  [
    "blocks nested too deep",
    Buffer.from(many(40, (i) => `${" ".repeat(i)}a:\n`)),
    "17:17 . | nested more than 16 deep\n",
  ],
  ["brackets nested ten thousand deep", Buffer.from("[".repeat(10_000)), "1:17 . | nested more than 16 deep\n"],
  ["lists nested ten thousand deep", Buffer.from("- ".repeat(10_000)), "1:33 . | nested more than 16 deep\n"],
];

describe("a file that is no spec at all is refused:", () => {
  test.each(bytes)("%s", (_title, text, complaints) => {
    expect(say(judgeSpec(text))).toBe(complaints);
  });
});

test("there are at least 60 broken inputs, and no two are the same", () => {
  const inputs = [...specs, ...hosts].map(({ text }) => text);

  expect(new Set(inputs).size).toBe(inputs.length);
  expect(inputs.length + bytes.length).toBeGreaterThanOrEqual(60);
});

test("no complaint is in the words of zod, and none is a stack trace", () => {
  const said = [...specs, ...hosts].map(({ complaints }) => complaints).join("");

  expect(said).not.toMatch(/Invalid input|expected .*, received|Unrecognized|Too (small|big)|Error:|\n\s+at /);
});

test("the complaint of an unquoted mode is the contract's, word for word", () => {
  const contract = JSON.parse(readFileSync("test/contract/output/check.json", "utf8"));
  const spec = `subject: web.internal
sans: [web.internal]
outputs:
  - { format: fullchain, path: /etc/web/tls/chain.pem }
  - { format: key, path: /etc/web/tls/private.pem, mode: 0640 }
`;

  const { problems } = parseSpec(Buffer.from(spec), { name: "web", file: "/etc/certagent.d/web.yaml", host, facts });

  expect(problems).toEqual([{ ...contract.problems[0], column: 58 }]);
});

test("a secret that was written where only its place belongs is never repeated", () => {
  const provisioner = (text: string) => `issuers:
  internal:
    type: step-ca
    url: https://ca.internal:9000
    root: { file: /etc/certagent/root_ca.crt }
    provisioner: { type: jwk, name: hosts, ${text} }
`;
  const slips = [
    "password: hunter2",
    "token: hunter2",
    "key: hunter2",
    "password: { file: hunter2 }",
    "password: [hunter2]",
    "password: { hunter2 }",
    'password: "hunter2',
    "password: @hunter2",
    "password: { file: [hunter2] }",
    "password: { file: /x, credential: hunter2 hunter2 }",
  ];

  for (const slip of slips) {
    for (const secret of ["hunter2", "31337"]) {
      const text = provisioner(slip.replaceAll("hunter2", secret));

      const { problems } = parseHost(Buffer.from(text), "certagent.yaml", facts);

      expect(problems).not.toEqual([]);
      expect(JSON.stringify(problems)).not.toContain(secret);
    }
  }
});

test("a hostile file has at most thirty complaints and one that counts the rest", () => {
  const spec = `${good}sans: [${many(200, (i) => `"a b${i}",`)}]\n`;

  const problems = judgeSpec(Buffer.from(spec));

  expect(problems).toHaveLength(31);
  expect(problems.at(-1)?.message).toBe("and 170 more problems");
});

test("a byte order mark and the line ends of Windows are taken", () => {
  expect(judgeSpec(Buffer.from(`\ufeff${good.replaceAll("\n", "\r\n")}`))).toEqual([]);
});
