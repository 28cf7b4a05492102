import fc from "fast-check";
import { expect, test } from "vitest";
import { encodeCommand, readReply } from "../../../src/services/resp.ts";

test("a command is an array of bulk strings, counted in bytes", () => {
  expect(encodeCommand(["SET", "ä", ""]).toString()).toBe("*3\r\n$3\r\nSET\r\n$2\r\nä\r\n$0\r\n\r\n");
});

test.for<[string, unknown]>([
  ["+OK\r\n", "OK"],
  ["-ERR no\r\n", { error: "ERR no" }],
  [":-12\r\n", -12],
  ["$-1\r\n", null],
  ["$4\r\na\r\nb\r\n", "a\r\nb"],
  ["*-1\r\n", null],
  ["*3\r\n$1\r\na\r\n:1\r\n*1\r\n+b\r\n", ["a", 1, ["b"]]],
])("the reply %j is read whole, and not before it is whole", ([text, reply]) => {
  const bytes = Buffer.from(text);

  expect(readReply(bytes)).toEqual({ reply, end: bytes.length });
  for (let length = 0; length < bytes.length; length += 1) expect(readReply(bytes.subarray(0, length))).toBeUndefined();
});

test.for([
  "HTTP/1.1 400 Bad Request\r\n",
  "$99999999\r\n",
  "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n",
  "$x\r\n",
  "\x15\x03\x01\r\n",
])("%j is no reply of Redis", (text) => {
  expect(() => readReply(Buffer.from(text))).toThrow("Cannot understand Redis");
});

test("readReply() reads or refuses whatever comes, and never anything else", () => {
  const bytes = fc
    .array(fc.constantFrom("*", "$", ":", "+", "-", "1", "2", "\r\n", "\r", "a"))
    .map((parts) => Buffer.from(parts.join("")));

  fc.assert(
    fc.property(bytes, (input) => {
      try {
        const read = readReply(input);
        expect(read === undefined || read.end <= input.length).toBe(true);
      } catch (error) {
        expect(error).toMatchObject({ code: "RELOAD_FAILED" });
      }
    }),
  );
});
