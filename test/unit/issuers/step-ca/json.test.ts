import fc from "fast-check";
import { expect, test } from "vitest";
import { parseJson } from "../../../../src/issuers/step-ca/json.ts";

test.each([
  ['{"a":[1,{"b":"x\\"}:{"}],"c":null}', { a: [1, { b: 'x"}:{' }], c: null }],
  ['{"a":{"x":1},"b":{"x":2}}', { a: { x: 1 }, b: { x: 2 } }],
  [' [ "a" , "a" ] ', ["a", "a"]],
])("%s is read", (text, value) => {
  expect(parseJson(Buffer.from(text))).toEqual(value);
});

test.each([
  ["a byte order mark", '\ufeff{"a":1}'],
  ["a NUL", '{"a":1}\0'],
  ["a key twice", '{"a":1,"a":2}'],
  ["a key twice, once in escapes", '{"a":1,"\\u0061":2}'],
  ["__proto__", '{"__proto__":{}}'],
  ["__proto__ in escapes", '{"x":{"\\u005f_proto__":{}}}'],
  ["seventeen levels", `${"[".repeat(17)}${"]".repeat(17)}`],
  ["ten thousand levels", `${"[".repeat(10_000)}${"]".repeat(10_000)}`],
  ["no JSON", "<html>"],
])("%s is refused", (_, text) => {
  expect(() => parseJson(Buffer.from(text))).toThrow(Error);
});

test("what is no UTF-8 is refused", () => {
  expect(() => parseJson(Buffer.from([0x22, 0xff, 0x22]))).toThrow(Error);
});

test("values of few levels come back as they were written", () => {
  const value = fc.jsonValue({ maxDepth: 6 }).filter((json) => !JSON.stringify(json).includes("__proto__"));
  const read = fc.property(value, (json) => {
    expect(parseJson(Buffer.from(JSON.stringify(json)))).toEqual(JSON.parse(JSON.stringify(json)));
  });
  fc.assert(read);
});
