/**
 * The Node that the packages carry: that of the pinned npm package, without the symbols for debuggers. Kept in the user's
 * cache, since it changes with the version alone.
 */
import { execFile, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { copyFile, mkdir, mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "../test/servers/tools.ts";
import { installDebianPackages } from "./debian.mjs";
import { appear } from "./go-tools.ts";
import { ROOT, SetupError, tell } from "./pinned-node.mjs";

/** Architecture of a package → how npm and the compilers call it. */
const NAMES = {
  amd64: { npm: "x64", triplet: "x86_64-linux-gnu" },
  arm64: { npm: "arm64", triplet: "aarch64-linux-gnu" },
} as const;

export type Architecture = keyof typeof NAMES;
export const ARCHITECTURES = Object.keys(NAMES) as readonly Architecture[];

/** A folder with `node`, stripped, and its `LICENSE`. Throws {@link SetupError}. */
export async function nodeRuntime(architecture: Architecture): Promise<string> {
  const { npm, triplet } = NAMES[architecture];
  const name = `node-linux-${npm}`;
  const { version, integrity } = await locked(name);
  const folder = join(
    cacheFolder(),
    `runtime-${architecture}-${version}-${integrity.slice(7, 15).replaceAll("/", "_")}`,
  );
  if (existsSync(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  await appear(folder, async (work) => {
    await using scratch = await mkdtempDisposable(join(tmpdir(), "certagent-runtime-"));
    const found = await unpacked(name, version, integrity, scratch.path);
    await copyFile(join(found, "LICENSE"), join(work, "LICENSE"));
    await copyFile(join(found, "bin", "node"), join(work, "node"));
    await strip(join(work, "node"), triplet);
  });
  return folder;
}

interface Locked {
  readonly version: string;
  readonly integrity: string;
}

/** What the lock file says, for the processor of another machine too. */
async function locked(name: string): Promise<Locked> {
  const { packages } = JSON.parse(await readFile(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Readonly<Record<string, Locked>>;
  };
  const found = packages[`node_modules/${name}`];
  if (found === undefined) throw new SetupError(`package-lock.json has no ${name}`, "");
  return found;
}

/** The folder of an npm package: where it is installed, else fetched into `scratch` and checked against the lock file. */
async function unpacked(name: string, version: string, integrity: string, scratch: string): Promise<string> {
  const installed = join(ROOT, "node_modules", name);
  if (existsSync(join(installed, "bin", "node"))) return installed;
  tell(`fetching ${name} ${version}`);
  await execute("npm", ["pack", `${name}@${version}`, "--pack-destination", scratch, "--loglevel=error"]);
  const archive = join(scratch, `${name}-${version}.tgz`);
  const digest = createHash("sha512")
    .update(await readFile(archive))
    .digest("base64");
  if (integrity !== `sha512-${digest}`) throw new SetupError(`${name} ${version} is not what the lock file pins`, "");
  await execute("tar", ["-xzf", archive, "-C", scratch]);
  return join(scratch, "package");
}

/** Debian names the `strip` for each processor by its triplet; binutils for this machine's own has that name, too. */
async function strip(file: string, triplet: string): Promise<void> {
  const program = `${triplet}-strip`;
  if (spawnSync(program, ["--version"]).error !== undefined) {
    installDebianPackages([`binutils-${triplet.replace("_", "-")}`]);
  }
  await execute(program, ["--strip-all", file]);
}

async function execute(program: string, words: readonly string[]): Promise<void> {
  await promisify(execFile)(program, words).catch((cause: unknown) => {
    const { stderr, message } = cause as { stderr?: string; message: string };
    throw new SetupError(`${program} failed: ${(stderr || message).trim()}`, "");
  });
}
