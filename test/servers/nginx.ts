import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, freePort, listens, type PairFiles, type PairText, putPair, startDaemon } from "./daemon.ts";

export interface Nginx extends Daemon {
  readonly folder: string;
  readonly port: number;
  readonly config: string;
  readonly files: PairFiles;
  /** `nginx -t` and `nginx -s reload` for this very server. */
  readonly check: readonly string[];
  readonly reload: readonly string[];
  /** Replaces the configuration; `extra` goes into its server block. */
  configure(extra: string): Promise<void>;
}

export interface NginxOptions {
  /** Goes into the server block: `ssl_verify_client on; …`. */
  readonly extra?: string;
  readonly serverName?: string;
  readonly workers?: number;
}

const PROGRAM = "/usr/sbin/nginx";

/** nginx with one TLS server on a free port of 127.0.0.1, its files in a folder of its own. */
export async function startNginx(pair: PairText, options: NginxOptions = {}): Promise<Nginx> {
  const { extra = "", serverName = "web.internal", workers = 2 } = options;
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-nginx-"));
  const port = await freePort();
  const files = { certificate: join(folder.path, "web.pem"), key: join(folder.path, "web.key") };
  const config = join(folder.path, "nginx.conf");
  const common = [PROGRAM, "-p", folder.path, "-c", config, "-e", join(folder.path, "error.log")] as const;
  const configure = (more: string): Promise<void> =>
    writeFile(config, configuration({ folder: folder.path, port, files, serverName, workers, extra: more }));
  await putPair(files, pair);
  await configure(extra);
  const daemon = await startDaemon([...common, "-g", "daemon off;"], () => listens({ port }), "SIGQUIT");
  return {
    ...daemon,
    get running() {
      return daemon.running;
    },
    folder: folder.path,
    port,
    config,
    files,
    check: [...common, "-t"],
    reload: [...common, "-s", "reload"],
    configure,
    [Symbol.asyncDispose]: async () => {
      await daemon.stop("SIGTERM");
      await folder.remove();
    },
  };
}

interface Configuration extends Required<NginxOptions> {
  readonly folder: string;
  readonly port: number;
  readonly files: PairFiles;
}

function configuration({ folder, port, files, serverName, workers, extra }: Configuration): string {
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${folder}/${kind};`,
  );
  return `
    worker_processes ${workers};
    pid ${folder}/nginx.pid;
    events { worker_connections 64; }
    http {
      access_log off;
      ${temporary.join(" ")}
      server {
        listen 127.0.0.1:${port} ssl;
        server_name ${serverName};
        ssl_certificate ${files.certificate};
        ssl_certificate_key ${files.key};
        ${extra}
        location / { return 200 "hello"; }
      }
    }
  `;
}
