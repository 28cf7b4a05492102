/**
 * What node_exporter does with its certificate: it reads both files anew at every handshake, and it dies of SIGHUP.
 * Started as a program of its own, so that a signal really ends it.
 */
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { createSecureContext, TLSSocket } from "node:tls";
import { type Daemon, freePort, listens, type PairFiles, startDaemon } from "./daemon.ts";

export interface NodeExporter extends Daemon {
  readonly port: number;
}

export async function startNodeExporter(files: PairFiles): Promise<NodeExporter> {
  const port = await freePort();
  const argv = [process.execPath, import.meta.filename, files.certificate, files.key, String(port)] as const;
  const daemon = await startDaemon([...argv], () => listens({ port }));
  return {
    ...daemon,
    get running() {
      return daemon.running;
    },
    port,
  };
}

if (import.meta.main) {
  const [certificate = "", key = "", port] = process.argv.slice(2);
  createServer((raw) => {
    raw.on("error", () => {});
    try {
      const secureContext = createSecureContext({ cert: readFileSync(certificate), key: readFileSync(key) });
      const socket = new TLSSocket(raw, { isServer: true, secureContext });
      socket.on("error", () => {});
      socket.resume();
    } catch (error) {
      // A torn pair shows here, as OpenSSL's "key values mismatch".
      process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
      raw.destroy();
    }
  }).listen(Number(port), "127.0.0.1");
}
