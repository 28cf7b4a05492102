import { createPublicKey, verify } from "node:crypto";
import { describe, expect, test } from "vitest";
import { makeProvisioner } from "../../../../src/devca/provisioner.ts";
import { importSigningKey } from "../../../../src/issuers/step-ca/signing-key.ts";
import { grants, readToken, renewToken, signToken } from "../../../../src/issuers/step-ca/token.ts";
import { parseName } from "../../../../src/x509/name.ts";
import { makePki } from "../../../servers/pki.ts";

const NOW = Date.UTC(2026, 10, 20, 9);
const names = ["web.internal", "10.0.0.1"].map((text) => parseName(text)).filter((name) => name !== undefined);

function partsOf(token: string): readonly [Record<string, unknown>, Record<string, unknown>] {
  const [header = "", claims = ""] = token.split(".");
  const decode = (part: string) => JSON.parse(Buffer.from(part, "base64url").toString()) as Record<string, unknown>;
  return [decode(header), decode(claims)];
}

test("a token carries the provisioner's name and key id, the address, subject and names, and five minutes", async () => {
  const provisioner = await makeProvisioner("vm-hosts", "x");
  const key = await importSigningKey(Buffer.from(provisioner.jwk), "here");

  const [header, claims] = partsOf(
    await signToken(key, "vm-hosts", "https://ca:9000", { subject: "web.internal", names }, NOW),
  );

  expect(header).toEqual({ alg: "ES256", kid: provisioner.kid, typ: "JWT" });
  expect(claims).toEqual({
    iss: "vm-hosts",
    aud: "https://ca:9000/1.0/sign",
    sub: "web.internal",
    sans: ["web.internal", "10.0.0.1"],
    iat: NOW / 1000,
    nbf: NOW / 1000,
    exp: NOW / 1000 + 300,
    jti: expect.stringMatching(/^[0-9a-f]{32}$/) as string,
  });
});

test("a renewal token carries the chain in x5cInsecure and is signed by the leaf's key", async () => {
  const pki = await makePki();
  const pair = await pki.issue({ names: ["web.internal"] });

  const token = await renewToken(pair, "https://ca:9000", NOW);

  const [header, claims] = partsOf(token);
  expect(header).toEqual({
    alg: "ES256",
    typ: "JWT",
    x5cInsecure: pair.chain.map(({ der }) => Buffer.from(der).toString("base64")),
  });
  expect(claims).toMatchObject({
    iss: "step-ca-client/1.0",
    aud: "https://ca:9000/1.0/renew",
    sub: "web.internal",
  });
  const [signed, signature] = [token.slice(0, token.lastIndexOf(".")), token.slice(token.lastIndexOf(".") + 1)];
  const key = { key: createPublicKey(pair.key.keyObject), dsaEncoding: "ieee-p1363" } as const;
  expect(verify("sha256", Buffer.from(signed), key, Buffer.from(signature, "base64url"))).toBe(true);
});

describe("a token that was made elsewhere", () => {
  const made = (claims: unknown): string => `e30.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.c2ln`;
  const asked = { subject: "web.internal", names };

  test.each([
    ["the same names in another order", { sub: "web.internal", sans: ["10.0.0.1", "web.internal"] }, true],
    ["a name less", { sub: "web.internal", sans: ["web.internal"] }, false],
    ["a name more", { sub: "web.internal", sans: ["10.0.0.1", "web.internal", "x"] }, false],
    ["another subject", { sub: "x.internal", sans: ["10.0.0.1", "web.internal"] }, false],
    ["no names, so its subject alone", { sub: "web.internal" }, false],
  ])("with %s is offered only where they are asked for", (_, claims, offered) => {
    const token = readToken(made(claims));

    expect(token !== undefined && grants(token, asked)).toBe(offered);
  });

  test("says nothing of its dates where these are none", () => {
    const read = (nbf: unknown, exp: unknown) => readToken(made({ sub: "a", nbf, exp }));

    expect(read(1, 2)).toMatchObject({ beginsAt: 1000, expiresAt: 2000 });
    expect(read(1e300, -1e13)).toMatchObject({ beginsAt: undefined, expiresAt: undefined });
    expect(read("1", null)).toMatchObject({ beginsAt: undefined, expiresAt: undefined });
  });

  test.each([
    "",
    "x",
    "a.b",
    "a.b.c",
    made({ sub: "" }),
    made({ sub: "a", sans: ["bad name"] }),
    made([]),
    `${made({ sub: "a" })}.x`,
  ])("%j is none", (text) => {
    expect(readToken(text)).toBeUndefined();
  });
});
