/** Where a cluster of this host listens, by its own configuration. */
import { glob, lstat } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { readBounded } from "../base/read-file.ts";
import type { Address, Output } from "../core/ports.ts";

/** Debian, Fedora and its kin, the PostgreSQL project's own packages, a build from source. */
const CONFIGS = [
  "/etc/postgresql/*/*/postgresql.conf",
  "/var/lib/pgsql/data/postgresql.conf",
  "/var/lib/pgsql/*/data/postgresql.conf",
  "/usr/local/pgsql/data/postgresql.conf",
];
const DEFAULT: Address = { host: "127.0.0.1", port: 5432 };
const LONGEST_CONFIG = 1024 * 1024;
/** Files that are read of one cluster: its configuration is not root's, and may include itself a thousand times. */
const MOST_FILES = 100;

type Settings = ReadonlyMap<string, string>;

/** The address of the cluster whose `ssl_cert_file` is one of the outputs, else PostgreSQL's own default. */
export async function clusterAddress(
  outputs: readonly Output[],
  configs: readonly string[] = CONFIGS,
): Promise<Address> {
  const ours = new Set(outputs.map(({ path }) => path));
  for await (const config of glob(configs)) {
    const own = await readSettings(config);
    const data = own.get("data_directory") ?? dirname(config);
    // What ALTER SYSTEM has set stands in the data folder, and wins.
    const settings = new Map([...own, ...(await readSettings(join(data, "postgresql.auto.conf")))]);
    if (ours.has(resolve(data, settings.get("ssl_cert_file") ?? "server.crt"))) {
      return (await runningAddress(data)) ?? addressOf(settings.get("port"), settings.get("listen_addresses"));
    }
  }
  return DEFAULT;
}

/** What the running server has written into postmaster.pid: its port is line 4, its first address line 6. */
async function runningAddress(data: string): Promise<Address | undefined> {
  const lines = (await read(join(data, "postmaster.pid"))).split("\n");
  return Number(lines[3]) > 0 ? addressOf(lines[3], lines[5]) : undefined;
}

function addressOf(port: string | undefined, listen: string | undefined): Address {
  const first = listen?.split(",")[0]?.trim() ?? "";
  const host = first === "::" ? "::1" : first === "" || first === "*" || first === "0.0.0.0" ? "127.0.0.1" : first;
  return { host, port: Number(port) > 0 ? Number(port) : 5432 };
}

/** The settings of a file and of those that it includes, the last of each name winning as it does for PostgreSQL. */
async function readSettings(file: string, budget = { files: MOST_FILES }): Promise<Settings> {
  const settings = new Map<string, string>();
  if (budget.files-- <= 0) return settings;
  for (const line of (await read(file)).split("\n")) {
    const [, name = "", quoted, plain = ""] =
      /^\s*([\w.]+)(?:\s*=\s*|\s+)(?:'((?:[^']|'')*)'|([^\s#']+))/.exec(line) ?? [];
    const value = quoted?.replaceAll("''", "'") ?? plain;
    const isFollowed = /^include/i.test(name) && budget.files-- > 0;
    for (const path of isFollowed ? await includedBy(name.toLowerCase(), resolve(dirname(file), value)) : []) {
      for (const [key, its] of await readSettings(path, budget)) settings.set(key, its);
    }
    settings.set(name.toLowerCase(), value);
  }
  return settings;
}

async function includedBy(name: string, path: string): Promise<readonly string[]> {
  if (name === "include" || name === "include_if_exists") return [path];
  return name === "include_dir" ? (await Array.fromAsync(glob(join(path, "*.conf")))).sort() : [];
}

/** Bounded, never through a link, and no device is even opened: the data folder is not root's. What cannot be read says nothing. */
async function read(path: string): Promise<string> {
  const stat = await lstat(path).catch(() => undefined);
  if (stat?.isFile() !== true) return "";
  return (await readBounded(path, LONGEST_CONFIG).catch(() => Buffer.alloc(0))).toString("utf8");
}
