import { misused } from "./arguments.ts";
import type { Command } from "./command.ts";

/** Of certagent's own processes: `certagent apply` has no network, and starts this in a unit that has the loopback. */
export const relay: Command = {
  name: "relay",
  summary: "joins a service's address to a socket of certagent apply",
  operands: "HOST PORT SOCKET",
  options: [],
  description: "Started by certagent apply, which has no network, in a unit of its own.",
  examples: [],
  exitCodes: [[0, "the connection has ended, or there was none, which was told"]],
  run: async ({ operands: [host, port, path] }) => {
    if (host === undefined || path === undefined) throw misused("relay takes a host, a port and a socket");
    const { relayBetween } = await import("../apply/services/relay.ts");
    await relayBetween({ host, port: Number(port) }, path);
    return 0;
  },
};
