import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, freePort, listens, type PairFiles, type PairText, putPair, startDaemon } from "./daemon.ts";

export interface Redis extends AsyncDisposable {
  readonly folder: string;
  /** The port that speaks TLS. */
  readonly port: number;
  readonly socket: string;
  readonly config: string;
  readonly files: PairFiles;
  /** Who runs now; another one after {@link restart}. */
  readonly daemon: Daemon;
  /** Stops it and starts it again from its configuration file. */
  restart(): Promise<void>;
}

export interface RedisOptions {
  /** PEM of the certificates that clients are judged by. */
  readonly roots: string;
  /** Lines of redis.conf: `requirepass secret`, `tls-protocols TLSv1.2`. */
  readonly extra?: readonly string[];
  /** Without a configuration file CONFIG REWRITE is impossible. */
  readonly withoutFile?: boolean;
}

const PROGRAM = "/usr/bin/redis-server";

/** Redis with TLS on a free port of 127.0.0.1 and a unix socket; it demands a client certificate of everyone. */
export async function startRedis(
  pair: PairText,
  { roots, extra = [], withoutFile = false }: RedisOptions,
): Promise<Redis> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-redis-"));
  const port = await freePort();
  const socket = join(folder.path, "redis.sock");
  const config = join(folder.path, "redis.conf");
  const files = { certificate: join(folder.path, "server.crt"), key: join(folder.path, "server.key") };
  const authorities = join(folder.path, "ca.crt");
  await writeFile(authorities, roots);
  await putPair(files, pair);
  const lines = [
    "port 0",
    `tls-port ${port}`,
    "bind 127.0.0.1",
    `unixsocket ${socket}`,
    `dir ${folder.path}`,
    `tls-cert-file ${files.certificate}`,
    `tls-key-file ${files.key}`,
    `tls-ca-cert-file ${authorities}`,
    "tls-auth-clients yes",
    ...extra,
  ];
  await writeFile(config, `${lines.join("\n")}\n`);
  const argv: [string, ...string[]] = withoutFile
    ? [PROGRAM, ...lines.flatMap((line) => [`--${line.split(" ")[0]}`, ...line.split(" ").slice(1)])]
    : [PROGRAM, config];
  // Its socket comes after its ports, and whoever only connects to a TLS port leaves a line in its log.
  const start = (): Promise<Daemon> => startDaemon(argv, () => listens({ path: socket }));
  let daemon = await start();
  return {
    folder: folder.path,
    port,
    socket,
    config,
    files,
    get daemon() {
      return daemon;
    },
    restart: async () => {
      await daemon.stop();
      daemon = await start();
    },
    [Symbol.asyncDispose]: async () => {
      await daemon.stop("SIGKILL");
      await folder.remove();
    },
  };
}
