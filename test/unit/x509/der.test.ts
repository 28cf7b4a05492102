import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  DerError,
  readBoolean,
  readChildren,
  readDer,
  readObjectIdentifier,
  readSequence,
  readSmallInteger,
  readText,
} from "../../../src/x509/der.ts";
import { der } from "../../servers/pki.ts";

const bytes = (hex: string): Uint8Array => Uint8Array.fromHex(hex);

describe("readDer()", () => {
  test.each([
    ["no byte at all", ""],
    ["a tag alone", "30"],
    ["bytes behind the end", "300000"],
    ["content that is cut off", "3005020101"],
    ["an indefinite length", "3080020101 0000"],
    ["a length of four bytes", "308400000003020101"],
    ["a length not in its shortest form", "308103020101"],
    ["a long length with a leading zero", `30820081${"00".repeat(0x81)}`],
    ["a tag of several bytes", "1f8101 00"],
  ])("refuses %s", (_, hex) => {
    expect(() => readDer(bytes(hex.replaceAll(" ", "")))).toThrow(DerError);
  });

  test("reads what was encoded, at every length of length", () => {
    const sizes = fc.oneof(fc.nat(300), fc.constantFrom(127, 128, 255, 256, 65_535));
    fc.assert(
      fc.property(sizes, (size) => {
        const element = readDer(der(0x04, new Uint8Array(size)));
        expect([element.tag, element.content.length]).toEqual([0x04, size]);
      }),
    );
  });

  test("throws nothing but DerError, whatever the bytes", () => {
    const readers = [readChildren, readSequence, readObjectIdentifier, readSmallInteger, readBoolean, readText];
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.constantFrom(...readers), (content, read) => {
        for (const tag of [0x01, 0x02, 0x06, 0x30, 0x1e]) {
          try {
            read(readDer(der(tag, content)));
          } catch (thrown) {
            expect(thrown).toBeInstanceOf(DerError);
          }
        }
      }),
    );
  });

  test("reads one level at a time, so that nesting cannot exhaust the stack", () => {
    let nested = der(0x05);
    for (let depth = 0; depth < 5000; depth++) nested = der(0x30, nested);

    expect(readChildren(readDer(nested))).toHaveLength(1);
  });
});

test.each([
  ["550403", "2.5.4.3"],
  ["2a864886f70d01010b", "1.2.840.113549.1.1.11"],
  ["00", "0.0"],
  ["8837", "2.999"],
  // A UUID as an arc (X.667): beyond what a double can count.
  ["6983f09da7ebcfdee0c7a1a7b2c0948cc8f9d776", "2.25.329800735698586629295641978511506172918"],
])("readObjectIdentifier() reads %s", (hex, dotted) => {
  expect(readObjectIdentifier(readDer(der(0x06, bytes(hex))))).toBe(dotted);
});

test.each(["", "80", "8180", "00".repeat(65)])("readObjectIdentifier() refuses %j", (hex) => {
  expect(() => readObjectIdentifier(readDer(der(0x06, bytes(hex))))).toThrow(DerError);
});

test.each(["", "80", "0000000001"])("readSmallInteger() refuses %j", (hex) => {
  expect(() => readSmallInteger(readDer(der(0x02, bytes(hex))))).toThrow(DerError);
});

test("readText() reads UTF-8, BMP and Latin-1", () => {
  const texts = [der(0x0c, Buffer.from("ü€")), der(0x1e, bytes("00fc20ac")), der(0x13, "abc")];

  expect(texts.map((each) => readText(readDer(each)))).toEqual(["ü€", "ü€", "abc"]);
});
