/** Answers that step-ca never gives, and what stands in front of it may. */
import { once } from "node:events";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import type { ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { TLSSocket } from "node:tls";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DAY, HOUR, systemClock } from "../../../src/base/time.ts";
import type { Order } from "../../../src/core/ports.ts";
import { makeProvisioner } from "../../../src/devca/provisioner.ts";
import { makePki, type Pki } from "../../servers/pki.ts";
import { failure, issuerOf, never, requestFor, secretFile } from "./desk.ts";

let pki: Pki;
let folder: AsyncDisposable & { readonly path: string };
let rootFile: string;
/** To renew a leaf that half of its lifetime has passed of. */
let renewal: Order & Required<Pick<Order, "current">>;
beforeAll(async () => {
  pki = await makePki();
  folder = await mkdtempDisposable(join(tmpdir(), "certagent-odd-"));
  rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, pki.root.certificate.pem);
  const { key, chain } = await pki.issue({ notAfter: systemClock.now() + DAY });
  renewal = { request: requestFor(["web.internal"]), key, current: { key, chain } };
});
afterAll(() => folder[Symbol.asyncDispose]());

/** A server in the place of a CA: what it was asked for, and an issuer of it without any secret. */
async function standIn(answer: (response: ServerResponse) => unknown) {
  const { key, pem } = await pki.issue({ names: ["127.0.0.1"] });
  const client = { requestCert: true, rejectUnauthorized: false };
  const asked: string[] = [];
  const server = createServer({ key: key.toPem(), cert: pem, ...client }, ({ url = "" }, response) => {
    asked.push(url);
    answer(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ca = { url, rootFile, provisioner: { name: "x" } };
  const issuer = issuerOf(ca, { password: { file: "/nonexistent/password" } });
  return { ...ca, asked, issuer, [Symbol.asyncDispose]: async () => void server.close() };
}

test.each([20 * HOUR, -20 * HOUR, 8000 * 365 * DAY])(
  "a good leaf is taken although the answer's Date is %d ms off",
  async (offset) => {
    const now = systemClock.now();
    const { chain } = await pki.issue({ key: renewal.key, notBefore: now - 60_000, notAfter: now + DAY });
    const body = JSON.stringify({ certChain: chain.map(({ pem }) => pem) });
    const date = new Date(now + offset).toUTCString();
    await using ca = await standIn((response) => response.writeHead(201, { date }).end(body));

    const { via } = await ca.issuer.issue(renewal, never);

    expect(via).toBe("mtls");
    expect(ca.asked).toEqual(["/renew"]);
  },
);

test.each(["100 Continue", "103 Early Hints"])(
  "%s before the answer is passed over, asked for or not",
  async (interim) => {
    const now = systemClock.now();
    const { chain } = await pki.issue({ key: renewal.key, notBefore: now - 60_000, notAfter: now + DAY });
    const body = JSON.stringify({ certChain: chain.map(({ pem }) => pem) });
    await using ca = await standIn((response) => {
      response.socket?.write(`HTTP/1.1 ${interim}\r\n\r\n`);
      response.writeHead(201).end(body);
    });

    const { via } = await ca.issuer.issue(renewal, never);

    expect(via).toBe("mtls");
  },
);

test("a proxy that ends TLS and wants a client certificate is shown one beside the token", async () => {
  const now = systemClock.now();
  const { chain } = await pki.issue({ key: renewal.key, notBefore: now - 60_000, notAfter: now + DAY });
  const body = JSON.stringify({ certChain: chain.map(({ pem }) => pem) });
  await using ca = await standIn((response) => {
    const { headers, socket } = response.req;
    if ((socket as TLSSocket).getPeerX509Certificate() === undefined)
      response.writeHead(400).end("<html>No certificate");
    else if (headers.authorization === undefined)
      response.writeHead(400).end(`{"message":"The request could not be completed: missing client certificate."}`);
    else response.writeHead(201).end(body);
  });

  const { via } = await ca.issuer.issue(renewal, never);

  expect(via).toBe("bearer");
});

test("of an answer that is not step-ca's nobody is sent to the log of the CA", async () => {
  await using ca = await standIn((response) =>
    response.writeHead(400).end("<html>No required SSL certificate was sent"),
  );

  const { cause } = await failure(ca.issuer.issue(renewal, never));

  expect((cause as AggregateError).errors[0]).toMatchObject({
    hint: expect.stringMatching(/^no answer of step-ca's: the log of the proxy/),
  });
});

/** A proxy that ends TLS before a CA, and whose clock is wrong: it puts its own `Date` on each answer. */
async function behindWrongClock(chain: readonly { readonly pem: string }[]) {
  const { publicJwk, encryptedKey } = await makeProvisioner("x", "pw");
  const list = { provisioners: [{ type: "JWK", name: "x", key: publicJwk, encryptedKey }], nextCursor: "" };
  return await standIn(async (response) => {
    const { url = "", headers } = response.req;
    const answer = (status: number, body: unknown): void => {
      const date = new Date(systemClock.now() + 2 * HOUR).toUTCString();
      response.writeHead(status, { date }).end(JSON.stringify(body));
    };
    if (url.startsWith("/provisioners")) return answer(200, list);
    const sent = await text(response.req);
    const token = url === "/sign" ? (JSON.parse(sent) as { ott: string }).ott : headers.authorization?.slice(7);
    if (token === undefined) return answer(400, { message: "missing client certificate" });
    const { nbf } = JSON.parse(Buffer.from(token.split(".")[1] ?? "", "base64url").toString()) as { nbf: number };
    const isRight = Math.abs(nbf * 1000 - systemClock.now()) < 60_000;
    return answer(isRight ? 201 : 401, isRight ? { certChain: chain.map(({ pem }) => pem) } : {});
  });
}

test("behind a proxy whose clock is wrong a certificate is renewed by bearer token, and minted by a password", async () => {
  const now = systemClock.now();
  const { chain } = await pki.issue({ key: renewal.key, notBefore: now - 60_000, notAfter: now + DAY });
  await using ca = await behindWrongClock(chain);
  await using password = await secretFile("pw");
  const minting = issuerOf(ca, { password: { file: password.file } });

  const renewed = await ca.issuer.issue(renewal, never);
  const minted = await minting.issue({ ...renewal, current: undefined }, never);

  expect([renewed.via, minted.via]).toEqual(["bearer", "token"]);
});

test("a token that a proxy repeats in its refusal is not told", async () => {
  const { jwk } = await makeProvisioner("x", "not looked at");
  await using secret = await secretFile(jwk);
  let token = "";
  await using ca = await standIn(async (response) => {
    token = (JSON.parse(await text(response.req)) as { readonly ott: string }).ott;
    response.writeHead(403, { "content-type": "text/plain" }).end(`${token} is not let through`);
  });
  const minting = issuerOf(ca, { key: { file: secret.file } });

  const { message } = await failure(minting.issue({ ...renewal, current: undefined }, never));

  expect(token).toMatch(/^eyJ/);
  expect(message).toMatch(/HTTP 403, "\[token\] is not let through"$/);
});

test("the name that a CA has for a key can forge no line, nor fill a screen", async () => {
  const { jwk } = await makeProvisioner("x", "not looked at");
  await using secret = await secretFile(jwk);
  const key = { kid: `x\n<3>FORGED \u001b[2J\u202e ${"long ".repeat(40)}` };
  const body = JSON.stringify({ provisioners: [{ type: "JWK", name: "x", key }], nextCursor: "" });
  await using ca = await standIn((response) => {
    if (response.req.method === "GET") response.writeHead(200).end(body);
    else response.writeHead(401).end("{}");
  });
  const minting = issuerOf(ca, { key: { file: secret.file } });

  const { hint } = await failure(minting.issue({ ...renewal, current: undefined }, never));

  expect(hint).toContain(String.raw`by the key x\n<3>FORGED \x1b[2J\u{202e} long long`);
  expect(hint).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(hint?.length).toBeLessThan(250);
});

test("provisioners of kinds that nobody here knows are passed over", async () => {
  const strange = [
    null,
    { type: "X", name: "a", key: "text" },
    { type: "JWK", name: "b", key: { kid: "k".repeat(300) } },
  ];
  const body = JSON.stringify({ provisioners: [...strange, { type: "jwk", name: "c" }], nextCursor: "" });
  await using password = await secretFile("not looked at");
  await using ca = await standIn((response) => response.writeHead(200).end(body));
  const minting = issuerOf(ca, { password: { file: password.file } });

  const { code, hint } = await failure(minting.issue({ ...renewal, current: undefined }, never));

  expect({ code, hint }).toEqual({ code: "ISSUER_REJECTED", hint: 'it has "c"' });
});

test("the last of fifty provisioners with templates of 6 kB can be minted by: no page is longer than what is read", async () => {
  const { publicJwk, encryptedKey } = await makeProvisioner("last", "pw");
  const options = { x509: { template: "x".repeat(6000) } };
  const all = Array.from({ length: 50 }, (_, number) => {
    return { type: "JWK", name: number === 49 ? "last" : `p${number}`, key: publicJwk, encryptedKey, options };
  });
  const list = ({ req }: ServerResponse): string => {
    const query = new URL(req.url ?? "", "https://ca").searchParams;
    const [from, limit] = ["cursor", "limit"].map((name) => Number(query.get(name))) as [number, number];
    const next = from + limit;
    return JSON.stringify({ provisioners: all.slice(from, next), nextCursor: next < all.length ? String(next) : "" });
  };
  await using password = await secretFile("pw");
  await using ca = await standIn((response) => {
    if (response.req.url?.startsWith("/provisioners") === true) response.end(list(response));
    else response.writeHead(403).end();
  });
  const minting = issuerOf({ ...ca, provisioner: { name: "last" } }, { password: { file: password.file } });

  const { message } = await failure(minting.issue({ ...renewal, current: undefined }, never));

  expect(message).toMatch(/^Cannot mint at .*: HTTP 403/);
});

test("of provisioners one may bring more than other answers are read of", async () => {
  const { publicJwk, encryptedKey } = await makeProvisioner("last", "pw");
  const roots = { type: "X5C", name: "x5c", roots: "x".repeat(600_000) };
  const provisioners = [roots, { type: "JWK", name: "last", key: publicJwk, encryptedKey }];
  await using password = await secretFile("pw");
  await using ca = await standIn((response) => {
    if (response.req.method === "GET") response.end(JSON.stringify({ provisioners, nextCursor: "" }));
    else response.writeHead(403).end();
  });
  const minting = issuerOf({ ...ca, provisioner: { name: "last" } }, { password: { file: password.file } });

  const { message } = await failure(minting.issue({ ...renewal, current: undefined }, never));

  expect(message).toMatch(/^Cannot mint at .*: HTTP 403/);
});

test.each([
  [302, /^write the CA's own address/],
  [404, /^is that a step-ca\?/],
])(
  "HTTP %d in answer to a renewal is told with its own remedy where there is no secret either",
  async (status, remedy) => {
    await using ca = await standIn((response) => response.writeHead(status, { location: "/" }).end());

    const { code, hint } = await failure(ca.issuer.issue(renewal, never));

    expect(code).toBe("ISSUER_REJECTED");
    expect(hint).toMatch(remedy);
  },
);

test.each([
  ["no HTTP", "SSH-2.0-OpenSSH_10.0\r\n\r\n", "what it answers is no HTTP"],
  ["an answer that ends in its headers", "HTTP/1.1 201 Created\r\ncontent-type: app", "the connection was closed"],
  ["an impossible status", "HTTP/1.1 000 Odd\r\n\r\n", "what it answers is no HTTP"],
  [
    "headers without an end",
    `HTTP/1.1 201 Created\r\nx: ${"x".repeat(100_000)}\r\n\r\n`,
    "the headers of the answer are longer than 16 KiB",
  ],
])("%s in answer to a client certificate is no refusal of it: no other rung is tried", async (_, bytes, fact) => {
  await using ca = await standIn((response) => response.socket?.end(bytes));

  const { code, message } = await failure(ca.issuer.issue(renewal, never));

  expect(code).toBe("ISSUER_UNREACHABLE");
  expect(message).toContain(`: ${fact}`);
  expect(ca.asked).toEqual(["/renew"]);
});
