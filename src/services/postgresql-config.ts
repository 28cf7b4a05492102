/** Where a cluster of this host listens, by its own configuration. */
import { lstat, opendir } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { AgentError } from "../base/errors.ts";
import { readBounded } from "../base/read-file.ts";
import { addressText } from "../core/address.ts";
import type { Address, Output, System } from "../core/ports.ts";
import { createIsOneOf } from "./linked.ts";
import { startedBy } from "./unit.ts";

/** Debian, Fedora and its kin, the PostgreSQL project's own packages, a build from source. */
const CONFIGS = [
  "/etc/postgresql/*/*/postgresql.conf",
  "/var/lib/pgsql/data/postgresql.conf",
  "/var/lib/pgsql/*/data/postgresql.conf",
  "/usr/local/pgsql/data/postgresql.conf",
];
const DEFAULT: Address = { host: "127.0.0.1", port: 5432 };
/**
 * What is read of one cluster, in files and bytes; its configuration is PostgreSQL's own user's, who may have it include
 * itself a thousand times, or all there is on the disk.
 */
const MOST_FILES = 100;
const MOST_BYTES = 256 * 1024;
const MOST_CLUSTERS = 100;

/** The settings that matter here; of all others nothing is kept, as there may be millions. */
const WANTED = new Set(["data_directory", "ssl", "ssl_cert_file", "port", "listen_addresses"]);
/** A cluster of which nobody is shown a certificate. */
const OFF = /^(?:off?|f(?:a(?:l(?:se?)?)?)?|no?|0)$/i;
type Settings = ReadonlyMap<string, string>;

interface Budget {
  files: number;
  bytes: number;
}

/**
 * The addresses of the clusters that the unit stands for: on Debian one (`postgresql@15-main.service`); of other units all
 * that run and whose `ssl_cert_file` is one of the outputs, or a link to one. Where none of them serves TLS, the address of
 * the first, else PostgreSQL's own default; `SERVICE_UNSEEN` where one runs that listens at no address. An upgrade leaves the old cluster behind, stopped, with the same settings.
 */
export async function clusterAddresses(
  unit: string,
  outputs: readonly Output[],
  configs: readonly string[] = CONFIGS,
): Promise<readonly [Address, ...Address[]] | AgentError> {
  const [, version, name] = /^postgresql@([\d.]+)-(.+)\.service$/.exec(unit) ?? [];
  const isOurs = await createIsOneOf(outputs.map(({ path }) => path));
  const serving = new Map<string, Address>();
  const others: Address[] = [];
  let isSocketAlone = false;
  for (const config of (await Promise.all(configs.map(filesOf))).flat()) {
    if (name !== undefined && !config.endsWith(`/${version}/${name}/postgresql.conf`)) continue;
    const { data, settings } = await readCluster(config);
    const certificate = resolve(data, settings.get("ssl_cert_file") ?? "server.crt");
    if (name !== undefined || (await isOurs(certificate))) {
      const running = await runningAddress(data);
      if (running === NOWHERE) isSocketAlone = true;
      else if (running === undefined) others.push(addressOf(settings.get("port"), settings.get("listen_addresses")));
      else if (OFF.test(settings.get("ssl") ?? "")) others.unshift(running);
      else serving.set(addressText(running), running);
    }
  }
  const [first, ...more] = serving.values();
  if (first !== undefined) return [first, ...more];
  return isSocketAlone ? unseen() : [others[0] ?? DEFAULT];
}

/** The same of the cluster whose data folder a unit names, by `-D` or PGDATA; undefined where it names none. */
export async function addressByUnit(
  system: System,
  unit: string,
  signal: AbortSignal,
): Promise<Address | AgentError | undefined> {
  const { words, variable } = await startedBy(system, unit, signal);
  const given = words.find((_, at) => words[at - 1] === "-D");
  const data = given?.startsWith("/") ? given : variable("PGDATA"); // where it says -D ${PGDATA}
  if (data === undefined || !data.startsWith("/")) return undefined;
  const { settings } = await readCluster(join(data, "postgresql.conf"));
  const running = await runningAddress(data);
  return running === NOWHERE
    ? unseen()
    : (running ?? addressOf(settings.get("port"), settings.get("listen_addresses")));
}

/** At a unix socket PostgreSQL speaks no TLS, and no function of its own tells which certificate it has loaded. */
function unseen(): AgentError {
  const fact = "it listens at its unix socket alone, where it shows nobody a certificate";
  return new AgentError("SERVICE_UNSEEN", `Cannot look at what PostgreSQL serves: ${fact}`, {
    hint: "write listen_addresses = 'localhost' into postgresql.conf and restart it, or, as a reload is all that can be had, type: systemd with its unit",
  });
}

async function readCluster(config: string): Promise<{ readonly data: string; readonly settings: Settings }> {
  const budget = { files: MOST_FILES, bytes: MOST_BYTES };
  const own = await readSettings(config, budget);
  const data = own.get("data_directory") ?? dirname(config);
  // What ALTER SYSTEM has set stands in the data folder, and wins.
  return { data, settings: new Map([...own, ...(await readSettings(join(data, "postgresql.auto.conf"), budget))]) };
}

/** The paths that a pattern of names and `*` stands for. */
async function filesOf(pattern: string): Promise<readonly string[]> {
  let paths: readonly string[] = ["/"];
  for (const part of pattern.split("/").slice(1)) {
    const below = paths.map(async (path) => {
      const names = part === "*" ? await namesIn(path, MOST_CLUSTERS) : [part];
      return names.map((name) => join(path, name));
    });
    paths = (await Promise.all(below)).flat().slice(0, MOST_CLUSTERS);
  }
  return paths;
}

/** The first names in a folder, in the order of the alphabet; none where it cannot be read. */
async function namesIn(folder: string, limit: number): Promise<readonly string[]> {
  const names: string[] = [];
  try {
    await using entries = await opendir(folder);
    for (let entry = await entries.read(); entry !== null && names.length < limit; entry = await entries.read()) {
      names.push(entry.name);
    }
  } catch {
    // Gone, or no folder: then what was read counts.
  }
  return names.toSorted();
}

/** Of a server that runs and listens at no address. */
const NOWHERE = "nowhere";

/** What the running server has written into postmaster.pid: its port is line 4, its first address line 6, where it has one. */
async function runningAddress(data: string): Promise<Address | typeof NOWHERE | undefined> {
  const [, , , port, , first, more] = (await read(join(data, "postmaster.pid"), MOST_BYTES)).split("\n");
  if (!(Number(port) > 0)) return undefined;
  return first === "" && more !== undefined ? NOWHERE : addressOf(port, first);
}

function addressOf(port: string | undefined, listen: string | undefined): Address {
  const first = listen?.split(",")[0]?.trim() ?? "";
  const host = first === "::" ? "::1" : first === "" || first === "*" || first === "0.0.0.0" ? "127.0.0.1" : first;
  return { host, port: Number(port) > 0 ? Number(port) : 5432 };
}

/** The settings of a file and of those that it includes, the last of each name winning as it does for PostgreSQL. */
async function readSettings(file: string, budget: Budget): Promise<Settings> {
  const settings = new Map<string, string>();
  if (budget.files-- <= 0) return settings;
  const text = await read(file, budget.bytes);
  budget.bytes -= text.length;
  for (const line of text.split("\n")) {
    const [, word = "", quoted, plain = ""] =
      /^\s*([\w.]+)(?:\s*=\s*|\s+)(?:'((?:[^']|'')*)'|([^\s#']+))/.exec(line) ?? [];
    const name = word.toLowerCase();
    const value = quoted?.replaceAll("''", "'") ?? plain;
    if (WANTED.has(name)) settings.set(name, value);
    if (!name.startsWith("include") || budget.files-- <= 0) continue;
    for (const path of await includedBy(name, resolve(dirname(file), value))) {
      for (const [key, its] of await readSettings(path, budget)) settings.set(key, its);
    }
  }
  return settings;
}

async function includedBy(name: string, path: string): Promise<readonly string[]> {
  if (name === "include" || name === "include_if_exists") return [path];
  if (name !== "include_dir") return [];
  const names = await namesIn(path, MOST_FILES);
  return names.filter((file) => file.endsWith(".conf") && !file.startsWith(".")).map((file) => join(path, file));
}

/**
 * Bounded, never through a link, and neither a device nor a file of the kernel's (their size is 0) is even opened: the
 * data folder is not root's. What cannot be read says nothing.
 */
async function read(path: string, limit: number): Promise<string> {
  const stat = await lstat(path).catch(() => undefined);
  if (stat?.isFile() !== true || stat.size === 0) return "";
  return (await readBounded(path, limit).catch(() => Buffer.alloc(0))).toString("utf8");
}
