import { generateKeyPairSync } from "node:crypto";
import { expect, test } from "vitest";
import { AgentError } from "../../../../src/base/errors.ts";
import type { Session } from "../../../../src/issuers/step-ca/session.ts";
import { importSigningKey, unlockSigningKey } from "../../../../src/issuers/step-ca/signing-key.ts";

/** Made by smallstep's own tools' format: the password is `password`, and there are 1000 rounds. */
const JWE =
  "eyJhbGciOiJQQkVTMi1IUzI1NitBMTI4S1ciLCJjdHkiOiJqd2sranNvbiIsImVuYyI6IkEyNTZHQ00iLCJwMmMiOjEwMDAsInAycyI6Im1YMVZoekctMnV1UVZCemNENnF6dWcifQ.KSOgfMUXA3XJMlcUqEk9vcGSyMASNIdfu73eOK9gF8E_5PY6VXPhHw.-esPARmi10mtNdsI.1Ca7Aw2gjO11bY4ITI3QJgG5teokwIJuzhNpAZG-Sq3__GBMPP-4nZ-55JqYO18KibDHI2Lxh1HBB-aPFu8iG4eJZtI4S4pioi8vHWsNdJcVGzvCgep_GfClCIe0M_TE06e6ujoGvzahpMCcZ5IDlgoT04Y8atYlQ235MJpcaf24fvr3C87-clM2PnR1cH6FHuE9NAZiIQsk49W5-dFtYVvyidSECW-9im35vVFRzJFcZ2TiDlrRkZfKSV2M7TcXH7Ps7SzdYcooe0vrshHiOuAEDk4BAHU6F6NWPTS-Bc75WLrMJVd9bdDNSOoJ7Ibx2fhLe9rT6vFQSGb5_Yk.ltaxO4Ph_NkGSnuD8PSlLA";
const KID = "4zFrn6FhYW3KHqZgTWE-VnEaW2hhzkVxzyz-rXvOllY";
const PUBLIC = {
  kty: "EC",
  crv: "P-256",
  x: "Lvn3yELKHVrx9ed_D9RsMKLWXGG4yyujGPxPfIMrsns",
  y: "3P-h_aRCEd9B00KQIZG1L-7YF7WjVaa_QayBCKAihb4",
};
const D = "qY4tN9Rq0_wivUBf1hEnz2TRfMy__zuFmGRKzQv1_Ts";

/** A CA that lists these provisioners; what it is asked is answered here, since no real one says such things. */
function listing(...pages: readonly unknown[]): Session {
  let asked = 0;
  const ask = () => Promise.resolve(pages[Math.min(asked++, pages.length - 1)]);
  return { ask, leave: () => false } as Pick<Session, "ask" | "leave"> as Session;
}

function withKey(encryptedKey: string): Session {
  return listing({ provisioners: [{ type: "JWK", name: "p", key: { kid: KID }, encryptedKey }], nextCursor: "" });
}

async function failureOf(attempt: Promise<unknown>): Promise<AgentError> {
  const error: unknown = await attempt.catch((thrown: unknown) => thrown);
  if (error instanceof AgentError) return error;
  throw new Error("no AgentError", { cause: error });
}

test("a key that was encrypted by Smallstep's format is opened", async () => {
  const { id, algorithm, key } = await unlockSigningKey(withKey(JWE), "p", Buffer.from("password"), "here");

  expect({ id, algorithm, extractable: key.extractable }).toEqual({ id: KID, algorithm: "ES256", extractable: false });
});

test("the wrong password is told from a broken key", async () => {
  const wrong = await failureOf(unlockSigningKey(withKey(JWE), "p", Buffer.from("Password"), '"/run/p"'));
  const broken = await failureOf(unlockSigningKey(withKey("a.b.c"), "p", Buffer.from("password"), '"/run/p"'));

  expect(wrong.code).toBe("CREDENTIAL_MISSING");
  expect(broken.code).toBe("ISSUER_REJECTED");
});

test.each([
  ["too many rounds", { alg: "PBES2-HS256+A128KW", enc: "A256GCM", p2c: 10_000_001, p2s: "AAAAAAAAAAAAAAAAAAAAAA" }],
  ["another algorithm", { alg: "dir", enc: "A256GCM" }],
])("an encrypted key with %s is refused without work", async (_, header) => {
  const [, ...rest] = JWE.split(".");
  const forged = [Buffer.from(JSON.stringify(header)).toString("base64url"), ...rest].join(".");

  const error = await failureOf(unlockSigningKey(withKey(forged), "p", Buffer.from("password"), "here"));

  expect(error.code).toBe("ISSUER_REJECTED");
});

test("a list without an end is left after a hundred pages, and the error names a few of those it had", async () => {
  const name = (number: number) => ({ type: "JWK", name: `p${number}\n` });
  let asked = 0;
  const session = {
    ask: () => {
      asked++;
      const provisioners = Array.from({ length: 20 }, (_, number) => name(number));
      return Promise.resolve({ provisioners, nextCursor: String(asked) });
    },
    leave: () => false,
  } as Pick<Session, "ask" | "leave"> as Session;

  const error = await failureOf(unlockSigningKey(session, "p", Buffer.from("password"), "here"));

  expect(asked).toBe(100);
  expect(error.hint).toMatch(/^it has "p0", .* and 1992 more$/);
});

test.each([
  ["an oversized page", { provisioners: Array.from({ length: 101 }, () => ({})) }],
  ["something else", { provisioners: "x" }],
])("%s of provisioners is refused", async (_, page) => {
  const error = await failureOf(unlockSigningKey(listing(page), "p", Buffer.from("password"), "here"));

  expect(error.code).toBe("ISSUER_UNREACHABLE");
});

test("a JWK without an id gets its thumbprint", async () => {
  const { id } = await importSigningKey(Buffer.from(JSON.stringify({ ...PUBLIC, d: D })), "here");

  expect(id).toBe(KID);
});

test.each([
  ["no JSON", `${D} and more`, "it is no JSON"],
  ["a public key", JSON.stringify(PUBLIC), "it is no private JWK"],
  ["an encrypted key", JSON.stringify({ protected: "x", ciphertext: D }), "it is encrypted"],
  ["a damaged key", JSON.stringify({ ...PUBLIC, d: D.slice(0, 20) }), "it is damaged, or of a kind that cannot sign"],
  ["a short RSA key", JSON.stringify(shortRsa()), "its 1024 bits are too few to sign with"],
  ["a symmetric key", JSON.stringify({ kty: "oct", k: D }), "it is no private JWK"],
])("%s in the place of a JWK is named, and never quoted", async (_, text, fact) => {
  const error = await failureOf(importSigningKey(Buffer.from(text), '"/run/key"'));

  expect(error.code).toBe("CREDENTIAL_MISSING");
  expect(error.message).toBe(`Cannot mint: the provisioner's key in "/run/key" cannot be used: ${fact}`);
  expect(JSON.stringify([error.message, error.hint, error.stack, String(error.cause)])).not.toContain(D.slice(0, 12));
});

function shortRsa(): unknown {
  return generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey.export({ format: "jwk" });
}
