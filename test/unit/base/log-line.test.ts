import { expect, test } from "vitest";
import { formatJsonLine, formatLine, type LogRecord } from "../../../src/base/log-line.ts";

const TIME = "2026-11-20T09:30:00Z";

function record(fields: Readonly<Record<string, unknown>> = {}): LogRecord {
  return { level: "warning", time: TIME, ...fields, msg: "cannot issue" };
}

test.each([
  ["journal", '<4>cannot issue name=web because="no answer"'],
  ["text", `${TIME} warning cannot issue name=web because="no answer"`],
  [
    "colour",
    `\x1b[2m${TIME}\x1b[0m \x1b[33mwarning\x1b[0m cannot issue \x1b[2mname=\x1b[0mweb \x1b[2mbecause=\x1b[0m"no answer"`,
  ],
] as const)("formatLine() writes %s", (style, line) => {
  expect(formatLine(record({ name: "web", because: "no answer" }), style)).toBe(line);
});

test.each([
  ["debug", "<7>x"],
  ["info", "<6>x"],
  ["warning", "<4>x"],
  ["error", "<3>x"],
])("formatLine() gives %s its priority", (level, line) => {
  expect(formatLine({ level, msg: "x" }, "journal")).toBe(line);
});

test.each(["text", "colour"] as const)("formatLine() writes %s of what has no time without one", (style) => {
  expect(formatLine({ level: "error", msg: "Cannot start" }, style)).toBe("error   Cannot start");
});

// Each is what a hostile CA, a file name or a service's output may say.
test.each([
  ["a line feed and a priority", "x\n<3>FORGED", '"x\\n<3>FORGED"'],
  ["a carriage return", "x\r<3>FORGED", '"x\\r<3>FORGED"'],
  ["a priority first", "<3>FORGED", '"<3>FORGED"'],
  ["a pair", "x state=current", '"x state=current"'],
  ["an equals sign alone", "state=current", '"state=current"'],
  ["a closing quote", 'x" state="current', '"x\\" state=\\"current"'],
  ["a backslash and a quote", 'x\\" state=1', '"x\\\\\\" state=1"'],
  ["an escape that is no escape", "x\\n", '"x\\\\n"'],
  ["terminal escapes", "\x1b]0;title\x07\x1b[2J\x9b31m", '"\\x1b]0;title\\x07\\x1b[2J\\x9b31m"'],
  ["bidi overrides", "a\u202eb\u2066c", '"a\\u{202e}b\\u{2066}c"'],
  ["unicode line ends", "a\u0085b\u2028c\u2029d", '"a\\x85b\\u{2028}c\\u{2029}d"'],
  ["NUL", "a\0b", '"a\\x00b"'],
  ["zero width characters", "a\u200bb\ufeff", '"a\\u{200b}b\\u{feff}"'],
  ["a lone surrogate", "a\udc00", '"a\\u{dc00}"'],
  ["nothing at all", "", '""'],
  ["letters of all languages", "münchen 東京", '"münchen 東京"'],
  ["a path", "/etc/nginx/tls/key/a-b_c.pem", "/etc/nginx/tls/key/a-b_c.pem"],
  ["a time", TIME, TIME],
  ["an address", "[::1]:443", '"[::1]:443"'],
  ["a number", 12, "12"],
  ["a boolean", false, "false"],
  ["null", null, "null"],
  ["a list", ["a.example", "b c", 'd",e'], 'a.example,"b c","d\\",e"'],
  ["an empty list", [], '""'],
])("a value cannot forge a pair or a line: %s", (_, value, written) => {
  for (const style of ["journal", "text", "colour"] as const) {
    const line = formatLine(record({ value, last: 1 }), style);

    expect(line).toContain(written);
    expect(line).toMatch(style === "colour" ? /1$/ : / last=1$/);
    expect(line).not.toMatch(/[\n\r\u0085\u2028\u2029]/);
  }
});

test("a message cannot forge a line either", () => {
  expect(formatLine({ level: "info", msg: "a\n<3>b \x1b[2J" }, "journal")).toBe("<6>a\\n<3>b \\x1b[2J");
});

test("a long value is cut, and its end says by how much", () => {
  const line = formatLine(record({ page: "x".repeat(100_000), last: 1 }), "journal");

  expect(line).toBe(`<4>cannot issue page="${"x".repeat(1024)}… (98976 more)" last=1`);
});

test("a list that is cut ends behind a whole entry, so that nothing in it can pass for a pair", () => {
  const files = ["a".repeat(1000), `b ${"c".repeat(100)}`];

  const line = formatLine({ level: "info", msg: "wrote", files, reason: "x forged=1" }, "journal");

  expect(line).toBe(`<6>wrote files=${"a".repeat(1000)},… reason="x forged=1"`);
});

test("a line stays far below the 48 KiB at which journald starts a new one, whatever is in it", () => {
  const worst = "\u{10ffff}\u202e\0".repeat(10_000);
  const fields = Object.fromEntries(Array.from({ length: 50 }, (_, index) => [`f${index}`, worst]));

  for (const style of ["journal", "text", "colour"] as const) {
    expect(Buffer.byteLength(formatLine(record(fields), style))).toBeLessThan(40_000);
  }
  expect(Buffer.byteLength(formatJsonLine(JSON.stringify(record(fields))))).toBeLessThan(40_000);
});

test("a line of JSON stays JSON of the same value, in characters that do nothing", () => {
  const value = record({ value: "a\n<3>b\u202e\x7f\u2028\x9b" });

  const line = formatJsonLine(`${JSON.stringify(value)}\n`);

  expect(JSON.parse(line)).toEqual(value);
  expect(line).toMatch(/^[\x20-\x7e]+$/);
});

test("a line of JSON that is too long is replaced by its message", () => {
  const line = formatJsonLine(JSON.stringify(record({ page: "x".repeat(100_000) })));

  expect(JSON.parse(line)).toEqual({ level: "warning", time: TIME, msg: "cannot issue", cut: true });
});
