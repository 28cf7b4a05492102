/** Connections of a process that has no network: each through a unit of systemd that has the loopback. */
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createServer, isIP, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { type Connect, cannotConnect, connect, type Endpoint } from "../../base/connect.ts";
import { AgentError, asAgentError } from "../../base/errors.ts";
import { rethrow } from "../../base/file-error.ts";
import { makeFolders } from "../../base/folder.ts";
import type { Run } from "../../base/run.ts";
import { SECOND } from "../../base/time.ts";
import { CONNECTED } from "./relay.ts";

/** How long the unit may take to start. */
const START = 30 * SECOND;
const LONGEST_WORD = 200;

/** It moves bytes between two sockets: neither a right nor a folder is needed for that. */
const CONFINED = [
  "CapabilityBoundingSet=",
  "NoNewPrivileges=yes",
  "ProtectSystem=strict",
  "PrivateDevices=yes",
  "ProtectKernelTunables=yes",
  "ProtectControlGroups=yes",
  "RestrictNamespaces=yes",
  "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK",
  "LimitCORE=0",
  // One for each look at a service: systemd need not tell of them all.
  "LogLevelMax=notice",
  "MemoryMax=256M",
  "TasksMax=64",
];

export interface RelayOptions {
  /** Runs systemd-run, as a child. */
  readonly ask: Run;
  /** What starts this program: `relay HOST PORT SOCKET` is added. */
  readonly program: readonly string[];
  /** Of root alone: the sockets by which relays come back. */
  readonly folder: string;
}

type TcpEndpoint = Extract<Endpoint, { host: string }>;

/**
 * {@link connect} for a process that may open unix sockets alone. A TCP connection is made by a relay, which then joins
 * it to a socket of this process; it ends with that. A relay that cannot be had is no word on the service: that throws
 * `SERVICE_STALE`.
 */
export function createRelayConnect(options: RelayOptions): Connect {
  return async (to, name, signal) => {
    if ("path" in to) return await connect(to, name, signal);
    if (signal.aborted) throw cannotConnect(name, "ETIMEDOUT");
    return await connectByRelay(options, to, name, signal).catch((cause: unknown) => {
      const { code, message } = asAgentError(cause);
      if (code === "SERVICE_DOWN" || code === "SERVICE_STALE") throw cause;
      throw cannotConnect(name, `its relay cannot be had: ${message.replace(/^C/, "c")}`, cause);
    });
  };
}

async function connectByRelay(
  options: RelayOptions,
  to: TcpEndpoint,
  name: string,
  signal: AbortSignal,
): Promise<Socket> {
  await makeFolders(options.folder, { mode: 0o700 });
  const unique = randomBytes(4).toString("hex");
  const path = join(options.folder, `relay-${unique}`);
  using server = await listenAt(path);
  const arrival = arrivalAt(server.server, name, signal);
  // Awaited after the unit has started; what it rejects with by then is not forgotten.
  arrival.catch(() => undefined);
  await startRelay(options, { unit: `certagent-relay-${unique}.service`, to, name, path });
  return await arrival;
}

async function startRelay(
  { ask, program }: RelayOptions,
  relay: { unit: string; to: TcpEndpoint; name: string; path: string },
): Promise<void> {
  const { host, port } = relay.to;
  // A name's resolver may be anywhere; a number is on this host, or the spec of root says otherwise.
  const filter = isIP(host) === 0 ? [] : ["IPAddressDeny=any", "IPAddressAllow=localhost", `IPAddressAllow=${host}`];
  const argv = [
    "systemd-run",
    "--quiet",
    "--no-ask-password",
    "--collect",
    "--service-type=exec",
    `--unit=${relay.unit}`,
    `--description=certagent at ${relay.name}`,
    ...[...CONFINED, ...filter].map((property) => `--property=${property}`),
    "--",
    ...[...program, "relay", host, String(port), relay.path].map((word) => word.replaceAll("$", "$$$$")),
  ];
  const { exitCode, output } = await ask(argv, { timeout: START });
  if (exitCode === 0) return;
  const words = output.trim().replaceAll("\n", " | ");
  throw new AgentError("SERVICE_STALE", `Cannot connect to ${relay.name}: its relay was not started: ${words}`);
}

/** Takes one connection; closing it leaves that one alone. */
async function listenAt(path: string): Promise<Disposable & { readonly server: Server }> {
  const server = createServer({ pauseOnConnect: true });
  server.maxConnections = 1;
  server.listen(path);
  await once(server, "listening").catch(rethrow("listen at", path));
  return { server, [Symbol.dispose]: () => void server.close() };
}

async function arrivalAt(server: Server, name: string, signal: AbortSignal): Promise<Socket> {
  const arrived = (async () => (await once(server, "connection", { signal }))[0] as Socket)();
  const socket = await arrived.catch((cause: unknown) => {
    throw cannotConnect(name, "its relay did not come in time", cause);
  });
  socket.on("error", () => undefined);
  const word = await firstWord(socket, signal);
  if (word === CONNECTED) return socket;
  socket.destroy();
  throw cannotConnect(name, word);
}

/** Byte by byte: what follows the first line is the service's. */
async function firstWord(socket: Socket, signal: AbortSignal): Promise<string> {
  const bytes: number[] = [];
  while (bytes.length < LONGEST_WORD && !socket.readableEnded && !socket.destroyed) {
    const byte = (socket.read(1) as Buffer | null)?.[0];
    if (byte === 0x0a) return Buffer.from(bytes).toString("utf8");
    if (byte !== undefined) bytes.push(byte);
    else
      await Promise.race([once(socket, "readable", { signal }), once(socket, "close", { signal })]).catch(
        () => undefined,
      );
    if (signal.aborted) return "ETIMEDOUT";
  }
  return "its relay ended";
}
