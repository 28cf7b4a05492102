/**
 * A host as the contract describes it: a real step-ca, nginx, PostgreSQL and Redis, a node_exporter's stand-in, and the
 * contract's five specs, in which only paths, owners, commands, ports and lifetimes are exchanged.
 */
import { chmod, chown, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { MINUTE, type Milliseconds, SECOND } from "../../../src/base/time.ts";
import { type Nginx, startNginx } from "../../servers/nginx.ts";
import { type NodeExporter, startNodeExporter } from "../../servers/node-exporter.ts";
import { makePki } from "../../servers/pki.ts";
import { type Postgres, startPostgres } from "../../servers/postgres.ts";
import { type Agent, type AgentSettings, type Home, makeHome, startAgent } from "../../servers/program.ts";
import { type Redis, startRedis } from "../../servers/redis.ts";
import { type StepCa, startStepCa } from "../../servers/step-ca.ts";
import { type Beside, WAYS, type Way } from "../../servers/ways.ts";

const SPECS = join(import.meta.dirname, "..", "..", "contract", "specs");

export const FIVE = ["host", "node-exporter", "postgres", "redis", "vlc-admin"] as const;
export type SpecName = (typeof FIVE)[number];

/** Random enough to be looked for where it must not be. */
export const REDIS_PASSWORD = "oyster-canary-7f31c9d2";

export interface World extends AsyncDisposable {
  readonly way: Way;
  readonly home: Home;
  readonly ca: StepCa;
  readonly nginx: Nginx;
  readonly postgres: Postgres;
  readonly redis: Redis;
  readonly exporter: NodeExporter;
  /** The root of the CA, for everybody to read. */
  readonly rootFile: string;
  /** The provisioner's password is put there to be used once. */
  readonly passwordFile: string;
  /** While it is there, nginx's reload fails. */
  readonly brokenReload: string;
  /** A folder for further outputs. */
  readonly tls: string;
  readonly paths: Readonly<Record<SpecName, Paths>>;
  /** The text of a spec of the contract, for this world. */
  spec(name: SpecName): Promise<string>;
  /** Puts the provisioner's password there. */
  givePassword(): Promise<void>;
  /**
   * Starts the agent, in the home that this world has, or in another that is this host's. `through` is gone through by
   * all that serves there, once it is first started.
   */
  start(settings?: AgentSettings, home?: Home): Promise<Agent>;
  /** All that was told by what serves beside the agents. */
  journal(): readonly string[];
  /** The host configuration. `timeout` is that of the issuer. */
  config(timeout?: string): unknown;
}

export interface Paths {
  readonly certificate: string;
  readonly key: string;
  readonly roots?: string;
}

/** Starts everything but certagent. `lifetime` is what certificates live for. */
export async function makeWorld(lifetime: Milliseconds, way: Way = WAYS.alone): Promise<World> {
  await using started = new AsyncDisposableStack();
  const running = new AsyncDisposableStack();
  const home = started.use(await makeHome());
  const at = (...names: readonly string[]): string => join(home.folder, ...names);
  // What stood there before certagent came: of another CA, so that it is no pair to adopt.
  const before = await makePki("Before");
  const old = await before.issue({ names: ["old.internal"] });
  const exporterFiles = { certificate: at("node_exporter", "server.crt"), key: at("node_exporter", "server.key") };
  const ca = started.use(await startStepCa({ policy: { lifetime, backdate: 0 } }));
  const nginx = started.use(await startNginx(old, { serverName: "vlc-admin.internal" }));
  const postgres = started.use(await startPostgres(old));
  const redis = started.use(await startRedis(old, { roots: ca.root.pem, extra: [`requirepass ${REDIS_PASSWORD}`] }));
  const exporter = started.use(await startNodeExporter(exporterFiles));
  for (const folder of ["bin", "pki", "secret", "tls"]) await mkdir(at(folder));
  await writeFile(at("secret", "redis-password"), `${REDIS_PASSWORD}\n`, { mode: 0o600 });
  const reload = at("bin", "reload-nginx");
  await writeFile(
    reload,
    `#!/bin/sh\n[ ! -e ${reload}-fails ] || { echo no reload today; exit 1; }\nexec ${nginx.reload.join(" ")}\n`,
  );
  await chmod(reload, 0o755);

  const fqdn = hostname();
  const paths: World["paths"] = {
    host: { certificate: at("pki", "misc", `${fqdn}.pem`), key: at("pki", "private", `${fqdn}.pem`) },
    "node-exporter": exporterFiles,
    postgres: { ...postgres.files, roots: join(dirname(postgres.files.key), "root.crt") },
    redis: { ...redis.files, roots: join(redis.folder, "ca.crt") },
    "vlc-admin": nginx.files,
  };
  const exchange: readonly (readonly [string, string])[] = [
    ["/etc/nginx/tls/cert/vlc-admin.internal.pem", paths["vlc-admin"].certificate],
    ["/etc/nginx/tls/key/vlc-admin.internal.pem", paths["vlc-admin"].key],
    ["u:nginx:r", "u:www-data:r"],
    ["- type: nginx ", `- ${commands({ preflight: nginx.check, reload: [reload] })}type: nginx `],
    ["127.0.0.1:443", `127.0.0.1:${nginx.port}`],
    ["/var/lib/postgresql", dirname(postgres.files.key)],
    ["lifetime: 24h", `lifetime: ${lifetime / SECOND}s`],
    ["before: 8h", `before: ${lifetime / 3 / SECOND}s`],
    ["- type: postgresql ", `- ${commands({ reload: postgres.reload, timeout: "3s" })}type: postgresql `],
    ["127.0.0.1:5432", `127.0.0.1:${postgres.port}`],
    ["/etc/redis/", `${redis.folder}/`],
    ["/run/redis/redis-server.sock", redis.socket],
    ["/etc/certagent/redis-password", at("secret", "redis-password")],
    ["127.0.0.1:6380", `127.0.0.1:${redis.port}`],
    ["/etc/pki/tls", at("pki")],
    ["lifetime: 7d", `lifetime: ${lifetime / SECOND}s`],
    ["/etc/node_exporter", at("node_exporter")],
    ["group: prometheus", "group: daemon"],
    ["127.0.0.1:9100", `127.0.0.1:${exporter.port}`],
  ];
  const used = new Set<string>();
  const spec = async (name: SpecName): Promise<string> => {
    let text = await readFile(join(SPECS, `${name}.yaml`), "utf8");
    for (const [from, to] of exchange) {
      if (text.includes(from)) used.add(from);
      text = text.replaceAll(from, to);
    }
    return text;
  };
  const passwordFile = at("secret", "provisioner-password");
  const rootFile = at("root.crt");
  await writeFile(rootFile, ca.root.pem);
  const besides = new Map<string, Beside>();
  const start = async (settings: AgentSettings = {}, where = home): Promise<Agent> => {
    const { through = [] } = settings;
    if (!besides.has(where.state)) besides.set(where.state, running.use(await way.prepare(where, through)));
    return await startAgent(where, { ...way.agent, ...settings, through: [...through, ...(way.agent.through ?? [])] });
  };
  const world = {
    way,
    home,
    ca,
    nginx,
    postgres,
    redis,
    exporter,
    rootFile,
    passwordFile,
    brokenReload: `${reload}-fails`,
    tls: at("tls"),
    paths,
    spec,
    givePassword: async () => {
      await writeFile(`${passwordFile}.new`, `${ca.provisioner.password}\n`, { mode: 0o600 });
      await chown(`${passwordFile}.new`, way.user, way.user);
      await rename(`${passwordFile}.new`, passwordFile);
    },
    start,
    journal: () => [...besides.values()].flatMap((beside) => beside.journal()),
    config: (timeout = "20s") => configuration({ ...ca, rootFile }, passwordFile, timeout),
  };
  for (const name of FIVE) await home.write(name, await spec(name));
  const unused = exchange.map(([from]) => from).filter((from) => !used.has(from));
  if (unused.length > 0) throw new Error(`the contract's specs have changed: nothing says ${unused.join(", ")}`);
  await home.configure(world.config());
  running.use(started.move());
  return { ...world, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

/** Keys of a recipe in YAML, as the head of a mapping in a list. */
function commands(keys: Readonly<Record<string, unknown>>): string {
  return Object.entries(keys)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}\n    `)
    .join("");
}

function configuration({ url, rootFile, provisioner }: StepCa, passwordFile: string, timeout: string): unknown {
  const password = { file: passwordFile, delete_after_use: true };
  const internal = {
    type: "step-ca",
    url,
    root: { file: rootFile },
    provisioner: { type: "jwk", name: provisioner.name, password },
    timeout,
  };
  return { issuers: { internal }, default_issuer: "internal" };
}

/** Long enough that nothing is renewed by itself during a test, short enough that what fails is soon tried again. */
export const LONG: Milliseconds = 16 * MINUTE;
