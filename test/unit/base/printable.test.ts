import { expect, test } from "vitest";
import { printable, printableJson } from "../../../src/base/printable.ts";

test.each([
  ["a plain line, with ümläuts and 中文", "a plain line, with ümläuts and 中文"],
  ["x\n<3>forged", "x\\n<3>forged"],
  ["\r\t\0\x1b[31m\x7f\x9b", "\\r\\t\\x00\\x1b[31m\\x7f\\x9b"],
  ["\u202egnp.exe \u2066x\u2069", "\\u{202e}gnp.exe \\u{2066}x\\u{2069}"],
  ["a\u2028b\u2029c\u0085d", "a\\u{2028}b\\u{2029}c\\x85d"],
  ["zero\u200bwidth\ufeff", "zero\\u{200b}width\\u{feff}"],
  ["tag \u{e0041}", "tag \\u{e0041}"],
  ["lone \ud800 surrogate", "lone \\u{d800} surrogate"],
])("printable() makes %j one harmless line", (text, line) => {
  expect(printable(text)).toBe(line);
});

test("printableJson() leaves the same JSON, in printable characters only", () => {
  const value = { message: "\u202e\u2028\x7f\x9b\u{e0041} ok" };

  const json = printableJson(JSON.stringify(value));

  expect(JSON.parse(json)).toEqual(value);
  expect(json).toMatch(/^[\x20-\x7e]+$/);
});
