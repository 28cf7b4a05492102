import { getEventListeners, once } from "node:events";
import { mkdtempDisposable } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { connect } from "../../../src/base/connect.ts";
import type { System } from "../../../src/core/ports.ts";
import { serviceOf, system } from "../../servers/service.ts";

/** Answers each question alike, and never closes a connection. */
async function clingingRedis(folder: string, answer: string) {
  const path = join(folder, "redis.sock");
  const held = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    held.add(socket);
    socket.on("error", () => {}).on("data", () => socket.write(answer));
  });
  server.listen(path);
  await once(server, "listening");
  const dispose = async (): Promise<void> => {
    for (const socket of held) socket.destroy();
    server.close();
    await once(server, "close");
  };
  return { path, [Symbol.asyncDispose]: dispose };
}

test.each([
  ["tells where it serves TLS", "*2\r\n$8\r\ntls-port\r\n$4\r\n6379\r\n"],
  ["tells nothing", "*0\r\n"],
  ["answers what is no RESP", "HTTP/1.1 400 Bad Request\r\n"],
])("of a Redis that %s and holds on to its connections nothing stays behind", async (_, answer) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-redis-"));
  await using redis = await clingingRedis(folder.path, answer);
  const { signal } = new AbortController();
  const opened: Socket[] = [];
  const watched: System = {
    ...system,
    connect: async (...to) => {
      const socket = await connect(...to);
      opened.push(socket);
      return socket;
    },
  };
  const service = serviceOf({ type: "redis", socket: redis.path });

  await service.defaultProbe(watched, [], signal).catch(() => undefined);

  const [socket] = opened;
  if (socket?.closed === false) await once(socket, "close");
  expect(getEventListeners(signal, "abort")).toEqual([]);
});
