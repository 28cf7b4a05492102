/**
 * Makes the packages: `node scripts/package.ts [--arch amd64|arm64] [--format deb|rpm]`, all of them by default, into
 * `dist/`. The same commit gives the same bytes on the same release of binutils, whatever the umask.
 */
import { execFile } from "node:child_process";
import { copyFile, cp, mkdir, mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { gzipSync } from "node:zlib";
import manifest from "../package.json" with { type: "json" };
import { bundle } from "./build.ts";
import { nfpm } from "./nfpm.ts";
import { ARCHITECTURES, type Architecture, nodeRuntime } from "./node-runtime.ts";
import { orExplain, ROOT, SetupError } from "./pinned-node.mjs";

/** What packaging/nfpm.yaml takes from the checkout. */
const SOURCES = ["LICENSE", "config", "docs", "packaging", "systemd"];
const MANUAL = ["certagent.1", "certagent.yaml.5", "certagent-spec.5"];
const FORMATS = ["deb", "rpm"] as const;
export type Format = (typeof FORMATS)[number];

const execute = promisify(execFile);

export interface PackageOptions {
  readonly architectures?: readonly Architecture[];
  readonly formats?: readonly Format[];
  /** Hardly compressed: three times the size in a tenth of the time, for tests. */
  readonly isQuick?: boolean;
  /** Instead of the manifest's. */
  readonly version?: string;
}

/** Builds packages of this checkout into `folder` and answers their paths. Throws {@link SetupError}. */
export async function buildPackages(folder: string, options: PackageOptions = {}): Promise<readonly string[]> {
  const { architectures = ARCHITECTURES, formats = FORMATS, isQuick = false, version = manifest.version } = options;
  const program = await nfpm();
  await mkdir(folder, { recursive: true });
  await using build = await mkdtempDisposable(join(tmpdir(), "certagent-package-"));
  await bundle("src/main.ts", build.path);
  for (const name of SOURCES) await cp(join(ROOT, name), join(build.path, name), { recursive: true });
  for (const page of MANUAL) await compress(join(ROOT, "packaging", "man", page), join(build.path, `${page}.gz`));
  const config = join(build.path, "nfpm.yaml");
  const text = await readFile(join(ROOT, "packaging", "nfpm.yaml"), "utf8");
  await writeFile(config, isQuick ? quick(text) : text);
  const made: string[] = [];
  for (const architecture of architectures) {
    const runtime = await nodeRuntime(architecture);
    await copyFile(join(runtime, "node"), join(build.path, "node"));
    await copyFile(join(runtime, "LICENSE"), join(build.path, "LICENSE.node"));
    // Who cloned or builds with umask 077 makes the same packages.
    await execute("chmod", ["-R", "u=rwX,go=rX", build.path]);
    const env = {
      ...process.env,
      ARCH: architecture,
      BUILD: build.path,
      VERSION: version,
      SOURCE_DATE_EPOCH: await sourceDate(),
    };
    for (const format of formats) {
      const words = ["package", "--config", config, "--packager", format, "--target", folder];
      const { stdout } = await execute(program, words, { cwd: build.path, env });
      const path = /^created package: (.+)$/m.exec(stdout)?.[1];
      if (path === undefined) throw new SetupError(`nfpm made no package: ${stdout}`, "");
      made.push(path);
    }
  }
  return made;
}

function quick(config: string): string {
  return config.replace(/^( +compression:) xz$/m, "$1 none").replace(/^( +compression:) zstd:\d+$/m, "$1 zstd:fastest");
}

/** gzip, without a name and a time in it. */
async function compress(from: string, to: string): Promise<void> {
  await writeFile(to, gzipSync(await readFile(from), { level: 9 }));
}

/** The time of every file in the packages: that of the last commit, in seconds. */
async function sourceDate(): Promise<string> {
  const given = process.env["SOURCE_DATE_EPOCH"];
  if (given !== undefined && given !== "") return given;
  const { stdout } = await execute("git", ["log", "-1", "--format=%ct"], { cwd: ROOT }).catch(() => {
    throw new SetupError("cannot ask git for the time of the last commit", "set SOURCE_DATE_EPOCH to one, in seconds");
  });
  return stdout.trim();
}

if (import.meta.main) {
  await orExplain(async () => {
    const { values } = parseArgs({ options: { arch: { type: "string" }, format: { type: "string" } } });
    const architectures = ARCHITECTURES.filter((name) => values.arch === undefined || values.arch === name);
    const formats = FORMATS.filter((name) => values.format === undefined || values.format === name);
    for (const path of await buildPackages(join(ROOT, "dist"), { architectures, formats })) {
      process.stdout.write(`${path}\n`);
    }
  });
}
