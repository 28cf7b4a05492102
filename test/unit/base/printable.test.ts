import { expect, test } from "vitest";
import { lastWords, printable, printableJson, printableStyled } from "../../../src/base/printable.ts";

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

test.each([
  ["\x1b[2mnow\x1b[0m \x1b[33mwarning\x1b[0m words", "\x1b[2mnow\x1b[0m \x1b[33mwarning\x1b[0m words"],
  ["\x1b[31mred for ever", "\x1b[31mred for ever\x1b[0m"],
  ["\x1b[8mhidden \x1b[30;40mtoo\x1b[2J\x1b]0;title\x07", "\\x1b[8mhidden \\x1b[30;40mtoo\\x1b[2J\\x1b]0;title\\x07"],
  ["a\rb\x1b\x1b[0m[2J", "a\\rb\\x1b\x1b[0m[2J"],
])("printableStyled() leaves of %j the styles that certagent writes", (text, line) => {
  expect(printableStyled(text)).toBe(line);
});

test("printableJson() leaves the same JSON, in printable characters only", () => {
  const value = { message: "\u202e\u2028\x7f\x9b\u{e0041} ok" };

  const json = printableJson(JSON.stringify(value));

  expect(JSON.parse(json)).toEqual(value);
  expect(json).toMatch(/^[\x20-\x7e]+$/);
});

test("lastWords() keeps a private key to itself, wherever its text was cut off", () => {
  const body = "MIGHAgEAMBMGByqGSM49+/=\n".repeat(3);
  const [begin, end] = ["-----BEGIN EC PRIVATE KEY-----", "-----END EC PRIVATE KEY-----"];

  expect(lastWords(`a: ${begin}\n${body}${end}\nb, ${begin}\n${body}${end} c\n`, 1000)).toBe(
    "a: [private key]\nb, [private key] c",
  );
  expect(lastWords(JSON.stringify({ key: `${begin}\n${body}${end}\n` }), 1000)).toBe('{"key":"[private key]\\n"}');
  expect(lastWords(`${begin}\n${body}${end}`.replaceAll("\n", "\n1 | "), 1000)).toBe("[private key]");
  expect(lastWords(`a: ${begin}\n${body}`, 1000)).toBe("a: [private key]");
  expect(lastWords(JSON.stringify({ key: `${begin}\n${body}` }).slice(0, -2), 1000)).toBe('{"key":"[private key]');
  expect(lastWords(`[… left out …]\n${body}${end}\nb`, 1000)).toBe("[… left out …][private key]\nb");
  expect(lastWords(`${begin}\n${body}${end}\n${"b".repeat(10)}`, 7)).toBe("… bbbbbbb");
  expect(lastWords("-----BEGIN CERTIFICATE-----\nMIIB\n", 1000)).toBe("-----BEGIN CERTIFICATE-----\nMIIB");
});
