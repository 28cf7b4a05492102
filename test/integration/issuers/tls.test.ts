import { once } from "node:events";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer as createPlain } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { DAY, HOUR, systemClock } from "../../../src/base/time.ts";
import type { Order } from "../../../src/core/ports.ts";
import { type LeafOptions, makeAuthority, makePki, type Pki } from "../../servers/pki.ts";
import { failure, issuerOf, never, orderFor, secretFile } from "./desk.ts";

const now = systemClock.now();
let pki: Pki;
let folder: AsyncDisposable & { readonly path: string };
let rootFile: string;
beforeAll(async () => {
  pki = await makePki();
  folder = await mkdtempDisposable(join(tmpdir(), "certagent-tls-"));
  rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, pki.root.certificate.pem);
});
afterAll(() => folder[Symbol.asyncDispose]());

/** What an issuer says of the server that listens, and whether a request got through to it. */
async function failureAt(
  server: Server,
  asked?: Order,
): Promise<{ readonly code: string; readonly fact: string; readonly hint: string }> {
  await using secret = await secretFile("password");
  server.on("request", () => expect.unreachable("a request was sent"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const ca = { url, rootFile, provisioner: { name: "x" } };
  const issuer = issuerOf(ca, { password: { file: secret.file } });
  const { code, message, hint = "" } = await failure(issuer.issue(asked ?? (await orderFor("a.internal")), never));
  server.close();
  return { code, fact: message.replace(`Cannot reach ${url}: `, ""), hint };
}

async function serverWith(options: LeafOptions): Promise<Server> {
  const { key, pem } = await pki.issue({ names: ["127.0.0.1"], ...options });
  return createServer({ key: key.toPem(), cert: pem });
}

test("a server whose certificate has expired is not spoken to, and the clock is thought of", async () => {
  const said = await failureAt(await serverWith({ notAfter: now - HOUR }));

  expect(said).toMatchObject({ code: "ISSUER_UNREACHABLE", fact: "a certificate of its chain has expired" });
  expect(said.hint).toContain("this host's clock is ahead");
});

test("a server that only does Diffie-Hellman with numbers of its own is not spoken to", async () => {
  const { key, pem } = await pki.issue({ names: ["127.0.0.1"], key: "rsa-2048" });
  const ciphers = "DHE-RSA-AES128-GCM-SHA256";

  const said = await failureAt(
    createServer({ key: key.toPem(), cert: pem, maxVersion: "TLSv1.2", ciphers, dhparam: "auto" }),
  );

  expect(said).toMatchObject({ code: "ISSUER_UNREACHABLE", fact: expect.stringContaining("handshake failure") });
});

test("a server whose certificate is not valid yet means that this host's clock is behind", async () => {
  const said = await failureAt(await serverWith({ notBefore: now + DAY, notAfter: now + 2 * DAY }));

  expect(said).toMatchObject({ code: "CLOCK_SUSPECT", fact: "its certificate is not valid yet by this host's clock" });
});

test("a server that no way leads past is told of once", async () => {
  const { key, chain } = await pki.issue({ names: ["a.internal"] });
  const { request } = await orderFor("a.internal");
  const server = await serverWith({ notBefore: now + DAY, notAfter: now + 2 * DAY });

  const said = await failureAt(server, { request, key, current: { key, chain } });

  expect(said.fact).toBe("its certificate is not valid yet by this host's clock");
});

test("a server with another name is not spoken to", async () => {
  const said = await failureAt(await serverWith({ names: ["other.internal"] }));

  expect(said).toMatchObject({ code: "ISSUER_UNREACHABLE", fact: "its certificate is for other names" });
});

test("a server under another root is not spoken to", async () => {
  const stranger = await makeAuthority({ name: "Stranger" });

  const said = await failureAt(await serverWith({ issuer: stranger }));

  expect(said).toMatchObject({ code: "ISSUER_UNREACHABLE", fact: "its certificate does not chain to the pinned root" });
});

test("a server that knows only TLS 1.1 is not spoken to", async () => {
  const { key, pem } = await pki.issue({ names: ["127.0.0.1"] });
  const legacy = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT@SECLEVEL=0" } as const;

  const said = await failureAt(createServer({ key: key.toPem(), cert: pem, ...legacy }));

  expect(said).toMatchObject({ code: "ISSUER_UNREACHABLE", fact: "tlsv1 alert protocol version" });
});

test("a server that does not speak TLS is recognised", async () => {
  const said = await failureAt(createPlain());

  expect(said.code).toBe("ISSUER_UNREACHABLE");
  expect(said.fact).toMatch(/TLS|connection was/);
});
