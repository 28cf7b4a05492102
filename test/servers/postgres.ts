import { execFileSync } from "node:child_process";
import { chown, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Daemon, freePort, listens, type PairFiles, type PairText, putPair, startDaemon } from "./daemon.ts";

const PROGRAMS = "/usr/lib/postgresql/15/bin";

export interface Postgres extends Daemon {
  /** The data folder, which belongs to {@link uid}. */
  readonly data: string;
  readonly port: number;
  readonly config: string;
  readonly files: PairFiles;
  /** The user that it runs as. */
  readonly uid: number;
  /** `pg_ctl reload`, as that user. */
  readonly reload: readonly string[];
  /** Puts a pair at its paths, owned as PostgreSQL wants it. */
  put(pair: PairText): Promise<void>;
}

/** PostgreSQL 15 with TLS on a free port of 127.0.0.1; as user postgres where the tests run as root. */
export async function startPostgres(pair: PairText): Promise<Postgres> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-postgres-"));
  const uid = await giveToPostgres(folder.path);
  const data = join(folder.path, "data");
  const port = await freePort();
  const files = { certificate: join(folder.path, "server.crt"), key: join(folder.path, "server.key") };
  const initdb = asPostgres([
    "initdb",
    "-D",
    data,
    "--no-sync",
    "--auth=trust",
    "--username=postgres",
    "--encoding=UTF8",
  ]);
  execFileSync(initdb[0], initdb.slice(1), { stdio: "ignore", cwd: "/" });
  const config = join(data, "postgresql.conf");
  const settings = {
    listen_addresses: "127.0.0.1",
    port,
    unix_socket_directories: folder.path,
    fsync: "off",
    shared_buffers: "16MB",
    ssl: "on",
    ssl_cert_file: files.certificate,
    ssl_key_file: files.key,
  };
  await writeFile(
    config,
    Object.entries(settings)
      .map(([name, value]) => `${name} = '${value}'\n`)
      .join(""),
  );
  const put = (next: PairText): Promise<void> => putPair(files, next, uid);
  await put(pair);
  const daemon = await startDaemon(asPostgres(["postgres", "-D", data]), () => listens({ port }), "SIGINT");
  return {
    ...daemon,
    get running() {
      return daemon.running;
    },
    data,
    port,
    config,
    files,
    uid,
    reload: asPostgres(["pg_ctl", "-D", data, "reload"]),
    put,
    [Symbol.asyncDispose]: async () => {
      await daemon.stop();
      await folder.remove();
    },
  };
}

/** PostgreSQL refuses to run as root. */
function asPostgres([program, ...words]: readonly [string, ...string[]]): [string, ...string[]] {
  const argv: [string, ...string[]] = [join(PROGRAMS, program), ...words];
  if (process.getuid?.() !== 0) return argv;
  return ["/usr/bin/setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=TERM", ...argv];
}

async function giveToPostgres(folder: string): Promise<number> {
  const own = process.getuid?.() ?? 0;
  if (own !== 0) return own;
  const uid = Number(execFileSync("/usr/bin/id", ["-u", "postgres"], { encoding: "utf8" }));
  await chown(folder, uid, uid);
  return uid;
}
