import { createServer as createPlain, type Socket } from "node:net";
import { createServer, type TlsOptions } from "node:tls";
import type { PairText } from "./daemon.ts";

/** A TLS server in this process that can be told to serve another pair. */
export interface TlsServer extends AsyncDisposable {
  readonly port: number;
  /** The server names that clients have asked for, "" where they asked for none. */
  readonly asked: readonly string[];
  /** Errors of handshakes and connections that a server would log. */
  readonly errors: readonly string[];
  serve(pair: PairText): void;
}

export async function startTls(pair: PairText, options: TlsOptions = {}): Promise<TlsServer> {
  const asked: string[] = [];
  const errors: string[] = [];
  const server = createServer({ ...options, cert: pair.pem, key: pair.key.toPem() }, (socket) => {
    asked.push(typeof socket.servername === "string" ? socket.servername : "");
    socket.on("error", (error) => errors.push(error.message));
    socket.resume();
  });
  server.on("tlsClientError", (error) => errors.push(error.message));
  const { port, close } = await listening(server);
  return {
    port,
    asked,
    errors,
    serve: (next) => server.setSecureContext({ ...options, cert: next.pem, key: next.key.toPem() }),
    [Symbol.asyncDispose]: close,
  };
}

/** A server that speaks whatever `talk` does: no TLS, half a TLS, nothing at all. */
export async function startPlainServer(
  talk: (socket: Socket) => void,
): Promise<AsyncDisposable & { readonly port: number }> {
  const server = createPlain((socket) => {
    socket.on("error", () => {});
    talk(socket);
  });
  const { port, close } = await listening(server);
  return { port, [Symbol.asyncDispose]: close };
}

async function listening(
  server: ReturnType<typeof createPlain>,
): Promise<{ port: number; close: () => Promise<void> }> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => sockets.add(socket.once("close", () => sockets.delete(socket))));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return {
    port: address.port,
    close: async () => {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}
