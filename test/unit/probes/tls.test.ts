import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { SECOND } from "../../../src/base/time.ts";
import type { ProbeTarget } from "../../../src/core/ports.ts";
import { probe } from "../../../src/probes/index.ts";
import { freePort } from "../../servers/daemon.ts";
import { makePki } from "../../servers/pki.ts";
import { startPlainServer, startTls } from "../../servers/tls.ts";

const signal = new AbortController().signal;
const pki = await makePki();
const web = await pki.issue();

function at(port: number, more: Partial<ProbeTarget> = {}): ProbeTarget {
  return { address: { host: "127.0.0.1", port }, starttls: "tls", serverName: null, timeout: 10 * SECOND, ...more };
}

test.for(["TLSv1.2", "TLSv1.3"] as const)(
  "probe() sees the leaf of a %s server and leaves nothing to log",
  async (version) => {
    await using server = await startTls(web, { minVersion: version, maxVersion: version });

    const seen = await probe(at(server.port), signal);

    expect(seen.fingerprint).toBe(web.leaf.fingerprint);
    expect(server.errors).toEqual([]);
  },
);

test("probe() takes part in no Diffie-Hellman of numbers that the server chose", async () => {
  const rsa = await pki.issue({ key: "rsa-2048" });
  const options = { maxVersion: "TLSv1.2", ciphers: "DHE-RSA-AES128-GCM-SHA256:@SECLEVEL=1", dhparam: "auto" } as const;
  await using server = await startTls(rsa, options);

  await expect(probe(at(server.port), signal)).rejects.toThrow("handshake failure");
});

test("probe() sees the leaf of a server that knows nothing newer than RSA's key exchange", async () => {
  const rsa = await pki.issue({ key: "rsa-2048" });
  await using server = await startTls(rsa, { maxVersion: "TLSv1.2", ciphers: "AES128-GCM-SHA256" });

  expect((await probe(at(server.port), signal)).fingerprint).toBe(rsa.leaf.fingerprint);
});

test("probe() asks for the server name of its target, and for none where that is none or an address", async () => {
  await using server = await startTls(web);

  for (const serverName of ["web.internal", null, "127.0.0.1"]) await probe(at(server.port, { serverName }), signal);

  expect(server.asked).toEqual(["web.internal", "", ""]);
});

test("probe() sees expired, self-signed and foreign certificates, since it looks and does not trust", async () => {
  const expired = await pki.issue({
    notAfter: Date.parse("2020-01-01T00:00:00Z"),
    notBefore: Date.parse("2019-01-01T00:00:00Z"),
  });
  await using server = await startTls(expired);

  expect((await probe(at(server.port), signal)).fingerprint).toBe(expired.leaf.fingerprint);
});

test("probe() says that nothing listens", async () => {
  const port = await freePort();

  await expect(probe(at(port), signal)).rejects.toMatchObject({
    code: "SERVICE_DOWN",
    message: `Cannot connect to 127.0.0.1:${port}: connection refused`,
  });
  await expect(probe(at(1, { address: { path: "/nowhere/a.sock" } }), signal)).rejects.toMatchObject({
    code: "SERVICE_DOWN",
    message: "Cannot connect to /nowhere/a.sock: no such socket",
  });
});

const talkers: Record<string, [talk: (socket: Socket) => void, words: string]> = {
  "speaks first and no TLS": [
    (socket) => socket.write("220 mail.internal ESMTP\r\n"),
    "what listens there does not speak TLS",
  ],
  "answers in plain HTTP": [
    (socket) => socket.once("data", () => socket.end("HTTP/1.1 400 Bad Request\r\n\r\n")),
    "what listens there does not speak TLS",
  ],
  "hangs up at once": [(socket) => socket.destroy(), "the TLS handshake failed: "],
  "refuses the handshake by an alert": [
    (socket) => socket.once("data", () => socket.end(Buffer.from([21, 3, 3, 0, 2, 2, 40]))),
    "the TLS handshake failed: ",
  ],
  "floods without a handshake": [
    (socket) => {
      const pour = (): void => void (socket.writable && socket.write(Buffer.alloc(65_536), pour));
      pour();
    },
    "what listens there does not speak TLS",
  ],
  "says nothing": [(socket) => socket.resume(), "the TLS handshake failed: not finished within 1 s"],
};

test.for(Object.entries(talkers))("probe() says what is wrong with a server that %s", async ([, [talk, words]]) => {
  await using server = await startPlainServer(talk);

  const looking = probe(at(server.port, { timeout: SECOND }), signal);

  await expect(looking).rejects.toMatchObject({ code: "SERVICE_STALE" });
  await expect(looking).rejects.toThrow(`Cannot see the certificate at 127.0.0.1:${server.port}: ${words}`);
});

test("probe() stops at once when it is told to", async () => {
  await using server = await startPlainServer((socket) => socket.resume());
  const stop = new AbortController();

  const looking = probe(at(server.port, { timeout: 3600 * SECOND }), stop.signal);
  stop.abort();

  await expect(looking).rejects.toMatchObject({ name: "AgentError" });
});

test("probe() of a flavour that this version does not have names those that it has", async () => {
  await expect(async () => probe(at(1, { starttls: "gopher" }), signal)).rejects.toThrow(
    "this version knows tls, postgres",
  );
});
