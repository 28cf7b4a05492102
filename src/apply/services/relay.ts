import { connect, type Socket } from "node:net";

/** What the relay says first where it has connected; else it is why it has not, by the error's name. */
export const CONNECTED = "connected";

/**
 * Joins a TCP address to a unix socket where somebody waits: who waits is told in one line how the connection went, and
 * then each is given what the other one says, until one of them ends.
 */
export async function relayBetween(to: { readonly host: string; readonly port: number }, path: string): Promise<void> {
  const asker = connect({ path, allowHalfOpen: true });
  if ((await failureOf(asker)) !== undefined) return; // nobody waits any more
  const service = connect({ ...to, allowHalfOpen: true });
  const left = closed(asker);
  const failure = await Promise.race([failureOf(service), left]);
  if (failure === undefined) {
    asker.write(`${CONNECTED}\n`);
    service.pipe(asker);
    asker.pipe(service);
    await Promise.race([closed(service), left]);
  } else {
    asker.end(`${failure}\n`);
    await left;
  }
  service.destroy();
}

/** Undefined once it is open. */
function failureOf(socket: Socket): Promise<string | undefined> {
  return new Promise((resolve) => {
    socket.once("connect", () => resolve(undefined));
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
  });
}

function closed(socket: Socket): Promise<string> {
  return new Promise((resolve) => socket.once("close", () => resolve("closed")));
}
