import { once } from "node:events";
import { mkdtempDisposable } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CONNECTED, relayBetween } from "../../../../src/apply/services/relay.ts";
import { createRelayConnect } from "../../../../src/apply/services/relay-connect.ts";
import { cannotRun, type Run } from "../../../../src/base/run.ts";

async function listening(server: Server, at: string | number): Promise<number> {
  server.listen(at);
  await once(server, "listening");
  const address = server.address();
  return address !== null && typeof address === "object" ? address.port : 0;
}

/** Somebody who waits for a relay, and what the relay and the service say to it. */
async function waiting(folder: string) {
  const server = createServer();
  const path = join(folder, "relay");
  await listening(server, path);
  const arrived = once(server, "connection").then(([socket]: Socket[]) => {
    if (socket === undefined) throw new TypeError("a connection has a socket");
    server.close();
    return socket;
  });
  return { path, arrived };
}

async function textOf(socket: Socket, length: number): Promise<string> {
  let text = "";
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    if (text.length >= length) break;
  }
  return text;
}

test("a relay tells that it has connected, gives each what the other one says, and ends with them", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-relay-"));
  const service = createServer((socket) => socket.on("data", (words) => socket.write(`${words}!`)));
  const port = await listening(service, 0);
  const { path, arrived } = await waiting(folder.path);

  const relayed = relayBetween({ host: "127.0.0.1", port }, path);
  const socket = await arrived;
  socket.write("hello");

  expect(await textOf(socket, CONNECTED.length + 7)).toBe(`${CONNECTED}\nhello!`);
  socket.destroy();
  await relayed;
  service.close();
  await once(service, "close"); // its connection has ended too
});

test("a relay names why there is no connection", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-relay-"));
  const service = createServer();
  const port = await listening(service, 0);
  service.close();
  await once(service, "close");
  const { path, arrived } = await waiting(folder.path);

  const relayed = relayBetween({ host: "127.0.0.1", port }, path);
  const socket = await arrived;

  expect(await textOf(socket, 13)).toBe("ECONNREFUSED\n");
  socket.destroy();
  await relayed;
});

test("a relay that nobody waits for connects to nothing", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-relay-"));
  let connections = 0;
  const service = createServer(() => connections++);
  const port = await listening(service, 0);

  await relayBetween({ host: "127.0.0.1", port }, join(folder.path, "nobody"));

  expect(connections).toBe(0);
  service.close();
});

test.each([
  ["systemd-run cannot be started", "run", () => Promise.reject(cannotRun("systemd-run", "EAGAIN"))],
  ["systemd refuses it", "run", async () => ({ exitCode: 1, signal: null, timedOut: false, output: "Access denied" })],
  [
    "there is no room for its socket",
    "x".repeat(120),
    async () => ({ exitCode: 0, signal: null, timedOut: false, output: "" }),
  ],
])("a relay that cannot be had is no word on the service: %s", async (_, name, ask: Run) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-relay-"));
  const relayed = createRelayConnect({ ask, program: ["/usr/bin/certagent"], folder: join(folder.path, name) });
  const { signal } = new AbortController();

  const connecting = relayed({ host: "127.0.0.1", port: 6379 }, "127.0.0.1:6379", signal);

  await expect(connecting).rejects.toMatchObject({ code: "SERVICE_STALE" });
});
