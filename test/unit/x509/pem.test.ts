import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../src/base/errors.ts";
import { decodePem, encodePem, MOST_PEM_BLOCKS, MOST_PEM_BYTES, type PemReading } from "../../../src/x509/pem.ts";

const answer: PemReading = { labels: ["CERTIFICATE"], policy: "answer", code: "CHAIN_UNUSABLE" };
const file: PemReading = { ...answer, policy: "file" };
const block = encodePem("CERTIFICATE", Uint8Array.of(1, 2, 3));
const keyBlock = encodePem("PRIVATE KEY", Uint8Array.of(4, 5, 6));

describe("decodePem()", () => {
  test("returns what encodePem() was given, under both policies", () => {
    const blocks = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: MOST_PEM_BLOCKS });
    fc.assert(
      fc.property(blocks, fc.constantFrom(answer, file), (bytes, reading) => {
        const text = bytes.map((each) => encodePem("CERTIFICATE", each)).join("");
        expect(decodePem(text, reading).map((each) => [...each.bytes])).toEqual(bytes.map((each) => [...each]));
      }),
    );
  });

  test("throws nothing but AgentError for whatever text and bytes", () => {
    const line = fc.oneof(
      fc.constantFrom(
        "-----BEGIN CERTIFICATE-----",
        "-----END CERTIFICATE-----",
        "-----BEGIN X-----",
        "AAAA",
        "===",
        "",
      ),
      fc.string(),
    );
    const text = fc.oneof(
      fc.array(line).map((lines) => lines.join("\n")),
      fc.uint8Array(),
    );
    fc.assert(
      fc.property(text, fc.constantFrom(answer, file), (pem, reading) => {
        try {
          decodePem(pem, reading);
        } catch (thrown) {
          expect(thrown).toBeInstanceOf(AgentError);
        }
      }),
    );
  });

  test("finds no block in an empty text", () => {
    expect(decodePem("", answer)).toEqual([]);
    expect(decodePem(" \n\r\n", answer)).toEqual([]);
  });

  test("takes CRLF, trailing blanks, and lines of any length", () => {
    const odd = "-----BEGIN CERTIFICATE----- \r\nAQ\r\nID\r\n-----END CERTIFICATE-----";
    expect([...(decodePem(odd, answer)[0]?.bytes ?? [])]).toEqual([1, 2, 3]);
  });

  test("passes over text and foreign blocks in a file, unread", () => {
    const foreign = "-----BEGIN DH PARAMETERS-----\nnot base64 at all\n-----END DH PARAMETERS-----\n";
    const text = `Certificate:\n    Data: …\n${block}subject=CN = x\n${keyBlock}${foreign}${block}`;

    expect(decodePem(text, file)).toHaveLength(2);
  });

  test.each<[string, string, PemReading, string]>([
    ["text before a block", `hello\n${block}`, answer, "there is text outside the blocks"],
    ["text behind a block", `${block}hello`, answer, "there is text outside the blocks"],
    ["a private key", block + keyBlock, answer, 'a block "PRIVATE KEY" does not belong here'],
    ["a block that does not end", block.slice(0, -30), file, 'the block "CERTIFICATE" does not end'],
    ["a block in a block", `-----BEGIN X-----\n${block}`, file, 'a block "CERTIFICATE" begins inside the block "X"'],
    ["an end without a beginning", "-----END X-----\n", file, 'a block "X" ends that did not begin'],
    ["a wrong end", block.replace("END CERTIFICATE", "END X"), file, 'a block "X" ends that did not begin'],
    ["what is not base64", block.replace("AQID", "AQ!D"), file, "a block is not base64"],
    ["base64 without its padding", block.replace("AQID", "AQI"), file, "a block is not base64"],
    ["base64 with stray bits", block.replace("AQID", "AQJ="), file, "a block is not base64"],
    ["text behind the padding", block.replace("AQID", "AQ==\nAQID"), file, "a block is not base64"],
    ["an empty block", block.replace("AQID\n", ""), file, "a block is empty"],
    ["too many blocks", block.repeat(MOST_PEM_BLOCKS + 1), file, "there are more than 10 blocks"],
    ["too many bytes", "\n".repeat(MOST_PEM_BYTES + 1), file, "65537 bytes are more than 65536"],
  ])("refuses %s", (_, text, reading, fact) => {
    expect(() => decodePem(text, reading)).toThrow(new AgentError("CHAIN_UNUSABLE", `Cannot read PEM: ${fact}`));
  });

  test("counts blocks that it passes over", () => {
    expect(() => decodePem(keyBlock.repeat(MOST_PEM_BLOCKS + 1), file)).toThrow("more than 10 blocks");
  });

  test("refuses 856 kB before it looks at a byte of it", () => {
    const hostile = {
      length: 856_000,
      get buffer(): never {
        throw new Error("looked at");
      },
    } as unknown as Uint8Array;
    expect(() => decodePem(hostile, file)).toThrow("856000 bytes are more than 65536");
  });

  test("never quotes a key that it cannot decode", () => {
    const torn = keyBlock.replace("BAUG", "BAUG!secret");
    const reading: PemReading = { labels: ["PRIVATE KEY"], policy: "file", code: "KEY_UNUSABLE" };
    let thrown: unknown;
    try {
      decodePem(torn, reading);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({ code: "KEY_UNUSABLE", message: "Cannot read PEM: a block is not base64" });
    expect((thrown as Error).cause).toBeUndefined();
  });
});

test("encodePem() writes lines of 64 characters and a final newline", () => {
  const lines = encodePem("X", new Uint8Array(97)).split("\n");

  expect(lines.map((line) => line.length)).toEqual([17, 64, 64, 4, 15, 0]);
});
