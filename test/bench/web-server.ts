/** nginx with many TLS servers of different names on one port, each with a pair of its own. */
import { execFile } from "node:child_process";
import { mkdir, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { promisify } from "node:util";
import {
  type Daemon,
  freePort,
  listens,
  type PairFiles,
  type PairText,
  putPair,
  startDaemon,
} from "../servers/daemon.ts";

const PROGRAM = "/usr/sbin/nginx";

export interface WebServer extends Daemon {
  readonly port: number;
  readonly check: readonly string[];
  readonly reload: readonly string[];
  files(name: string): PairFiles;
  /** The fingerprint of the leaf that is served to who asks for a name. */
  served(name: string): Promise<string>;
}

/** Starts it with the same pair for all names. */
export async function startWebServer(names: readonly string[], pair: PairText): Promise<WebServer> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-bench-nginx-"));
  const port = await freePort();
  const files = (name: string): PairFiles => ({
    certificate: join(folder.path, "tls", `${name}.crt`),
    key: join(folder.path, "tls", `${name}.key`),
  });
  await mkdir(join(folder.path, "tls"));
  for (const name of names) await putPair(files(name), pair);
  const config = join(folder.path, "nginx.conf");
  await writeFile(config, configuration(folder.path, port, names, files));
  const common = [PROGRAM, "-p", folder.path, "-c", config, "-e", join(folder.path, "error.log")] as const;
  const daemon = await startDaemon([...common, "-g", "daemon off;"], () => listens({ port }), "SIGQUIT");
  return {
    ...daemon,
    get running() {
      return daemon.running;
    },
    port,
    check: [...common, "-t"],
    reload: [...common, "-s", "reload"],
    files,
    served: (name) => servedLeaf(port, name),
    [Symbol.asyncDispose]: async () => {
      await daemon.stop("SIGTERM");
      await folder.remove();
    },
  };
}

function configuration(
  folder: string,
  port: number,
  names: readonly string[],
  files: (name: string) => PairFiles,
): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  const servers = names.map((name) => {
    const { certificate, key } = files(name);
    return `server {
      listen 127.0.0.1:${port} ssl;
      server_name ${name};
      ssl_certificate ${certificate};
      ssl_certificate_key ${key};
    }`;
  });
  return `
    worker_processes 2;
    pid ${folder}/nginx.pid;
    events { worker_connections 512; }
    http {
      access_log off;
      server_names_hash_bucket_size 128;
      ${temporary.join(" ")}
      ${servers.join("\n")}
    }
  `;
}

/** Runs a command. Throws where it fails. */
export async function runToEnd([program = "", ...words]: readonly string[]): Promise<void> {
  await promisify(execFile)(program, words);
}

function servedLeaf(port: number, name: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const socket = connect({ host: "127.0.0.1", port, servername: name, rejectUnauthorized: false }, () => {
    resolve(socket.getPeerX509Certificate()?.fingerprint256.replaceAll(":", "").toLowerCase() ?? "");
    socket.destroy();
  });
  socket.once("error", reject);
  return promise;
}
