import fc from "fast-check";
import { expect, test } from "vitest";
import { remoteText } from "../../../../src/issuers/step-ca/remote-text.ts";

test("what could forge a line, colour a terminal or turn text around is shown by its number", () => {
  expect(remoteText("a\nb\r\t\u001b[31m\u202e\u200b\u2028\ufeffz")).toBe(
    String.raw`a\nb\r\t\x1b[31m\u{202e}\u{200b}\u{2028}\u{feff}z`,
  );
});

test("a token that is repeated is not told, nor the part of one that is left of it", () => {
  const parts = ['{"alg":"ES256"}', '{"sub":"web.internal"}', "signed"];
  const token = parts.map((part) => Buffer.from(part).toString("base64url")).join(".");

  expect(remoteText(`ott=${token}: blocked by rule 7`)).toBe("ott=[token]: blocked by rule 7");
  expect(remoteText(`ott%3D%22${token}%22`)).toBe("ott%3D%22[token]%22");
  expect(remoteText(`${" ".repeat(990)}${token}`)).not.toContain("eyJ");
});

test("whatever is said, it is one line of at most 512 characters without control characters", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 2000 }), (text) => {
      expect(remoteText(text)).toMatch(/^[^\p{Cc}\p{Cf}\p{Zl}\p{Zp}]{0,512}$/u);
    }),
  );
});
