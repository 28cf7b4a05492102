/** A booted system in a file tree of its own: processes, network (loopback alone) and journal are apart from ours. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { MINUTE, type Milliseconds, pause, SECOND, systemClock } from "../../src/base/time.ts";
import { cgroupFolders, removeCgroup } from "./cgroups.ts";
import { execute } from "./execute.ts";

/** How a program inside has ended. */
export interface Ran {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunSettings {
  readonly input?: string;
  /** Ended after that long. */
  readonly timeout?: Milliseconds;
}

export interface Machine extends AsyncDisposable {
  /** Boots it and waits until every unit of the boot has started or failed. */
  boot(): Promise<void>;
  /** As `systemctl poweroff`. */
  powerOff(): Promise<void>;
  /** Everything ends at once, as when the cord is pulled. */
  cutPower(): Promise<void>;
  /** Runs a program inside as root, whatever becomes of it. */
  run(argv: readonly string[], settings?: RunSettings): Promise<Ran>;
  /** Runs a line of shell inside and answers its output without the last newline. Throws where it fails. */
  sh(line: string, settings?: RunSettings): Promise<string>;
  /** The path by which this machine reaches a file inside, whether that is booted or off; /run is there while booted. */
  file(path: string): string;
  /** The process 1 of it. */
  readonly init: number;
}

/** No machine is so busy that this is not a failure. */
const PATIENCE = 3 * MINUTE;

export interface MachineSettings {
  /**
   * Whether its root may do to the kernel what root of a virtual machine may, not only what is safe for a container
   * whose kernel is that of this machine. Only for what is known to do no harm.
   */
  readonly isCapable?: boolean;
}

let machines = 0;

/**
 * Makes a machine that is off. Its tree is a copy, made of nothing but what it changes, of `layers`: what lies in an
 * earlier one hides the later ones. It lies in `folder`.
 */
export async function makeMachine(
  folder: string,
  layers: readonly string[],
  { isCapable = false }: MachineSettings = {},
): Promise<Machine> {
  machines += 1;
  const name = `certagent-${process.pid}-${machines}`;
  await mkdir(folder, { recursive: true });
  const own = await mkdtemp(join(folder, "machine-"));
  const [upper, work, tree] = [join(own, "upper"), join(own, "work"), join(own, "tree")];
  await Promise.all([upper, work, tree].map((path) => mkdir(path, { mode: 0o755 })));
  const options = `lowerdir=${layers.join(":")},upperdir=${upper},workdir=${work},redirect_dir=on`;
  // The mount is in a namespace of this process's own, so that it goes with it however the tests end.
  const mount = await startHolder(options, tree);
  const cgroups = await cgroupFolders(name);
  let booted: Booted | undefined;

  const end = async (): Promise<void> => {
    await booted?.ended;
    booted = undefined;
    for (const cgroup of cgroups) await removeCgroup(cgroup);
  };
  const machine: Machine = {
    get init() {
      if (booted === undefined) throw new Error("the machine is off");
      return booted.init;
    },
    boot: async () => {
      booted = await startSystem(mount.pid ?? 0, tree, isCapable, cgroups);
      await untilUp(machine, booted);
    },
    powerOff: async () => {
      await machine.run(["systemctl", "poweroff", "--no-block"]);
      const late = setTimeout(() => kill(machine.init), PATIENCE);
      await end();
      clearTimeout(late);
    },
    cutPower: async () => {
      kill(machine.init);
      await end();
    },
    run: (argv, settings) => runInside(machine.init, argv, settings),
    sh: async (line, settings) => {
      const { code, stdout, stderr } = await machine.run(["/bin/sh", "-euc", line], settings);
      if (code !== 0) throw new Error(`${line}\nended with ${code}: ${stdout}${stderr}`);
      return stdout.trimEnd();
    },
    file: (path) =>
      booted === undefined ? join(`/proc/${mount.pid}/root`, tree, path) : join(`/proc/${booted.init}/root`, path),
    [Symbol.asyncDispose]: async () => {
      if (booted !== undefined) await machine.cutPower();
      mount.kill("SIGKILL");
      await once(mount, "close");
      await rm(own, { recursive: true, force: true });
    },
  };
  return machine;
}

async function startHolder(options: string, tree: string): Promise<ChildProcess> {
  const script = `mount -t overlay overlay -o "$0" "$1" && echo mounted && exec sleep infinity`;
  const apart = ["--pdeathsig=KILL", "unshare", "--mount", "--propagation=private"];
  const holder = spawn("setpriv", [...apart, "sh", "-c", script, options, tree], { stdio: ["ignore", "pipe", "pipe"] });
  const word = await Promise.race([once(holder.stdout, "data"), once(holder, "close").then(() => undefined)]);
  if (word === undefined) throw new Error(`cannot mount a tree for a machine: ${await text(holder.stderr)}`);
  return holder;
}

interface Booted {
  readonly init: number;
  readonly ended: Promise<void>;
  readonly hasEnded: () => boolean;
  readonly console: () => string;
}

async function startSystem(
  holder: number,
  tree: string,
  isCapable: boolean,
  cgroups: readonly string[],
): Promise<Booted> {
  const script = join(import.meta.dirname, "boot.sh");
  const allowed = isCapable ? "--capability=all --system-call-filter=@known" : "";
  const enter = ["--pdeathsig=KILL", "nsenter", `--mount=/proc/${holder}/ns/mnt`];
  const argv = [...enter, "sh", script, tree, allowed, ...cgroups];
  const nspawn = spawn("setpriv", argv, { stdio: ["ignore", "pipe", "pipe"], env: PLAIN });
  let console = "";
  for (const stream of [nspawn.stdout, nspawn.stderr]) {
    stream.setEncoding("utf8").on("data", (chunk: string) => (console += chunk));
  }
  const ended = once(nspawn, "close").then(() => undefined);
  for (;;) {
    const init = nspawn.exitCode === null ? await childOf(nspawn.pid ?? 0) : undefined;
    if (init !== undefined) {
      return {
        init,
        ended,
        hasEnded: () => nspawn.exitCode !== null || nspawn.signalCode !== null,
        console: () => console,
      };
    }
    if (nspawn.exitCode !== null) throw new Error(`cannot boot a machine:\n${console}`);
    await pause(20);
  }
}

/** The one process that nspawn starts, as soon as it is the process 1 of a namespace of its own. */
async function childOf(pid: number): Promise<number | undefined> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
  const child = Number(children.trim().split(" ")[0]);
  if (child === 0) return undefined;
  const status = await readFile(`/proc/${child}/status`, "utf8").catch(() => "");
  return /^NSpid:\t\d+\t1$/m.test(status) ? child : undefined;
}

async function untilUp(machine: Machine, booted: Booted): Promise<void> {
  const start = systemClock.monotonic();
  for (;;) {
    if (booted.hasEnded()) throw new Error(`the machine went off while it booted:\n${booted.console()}`);
    const { stdout } = await machine.run(["systemctl", "is-system-running"], { timeout: 10 * SECOND });
    if (/^(running|degraded)$/m.test(stdout)) return;
    if (systemClock.monotonic() - start > PATIENCE) {
      throw new Error(`the machine does not come up: ${stdout}\n${booted.console().slice(-4000)}`);
    }
    await pause(200);
  }
}

const PLAIN = { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8" };

async function runInside(init: number, argv: readonly string[], settings: RunSettings = {}): Promise<Ran> {
  const { input, timeout = PATIENCE } = settings;
  const child = spawn("nsenter", ["--target", String(init), "--all", "--", ...argv], {
    stdio: ["pipe", "pipe", "pipe"],
    env: PLAIN,
    cwd: "/",
    // A group of its own: a signal that it sends to its group is none to the tests.
    detached: true,
  });
  const late = setTimeout(() => child.kill("SIGKILL"), timeout);
  child.stdin.on("error", () => undefined).end(input ?? "");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  clearTimeout(late);
  return { code: child.exitCode, stdout, stderr };
}

function kill(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // It has just ended by itself.
  }
}

/** Runs a program in a tree that is not booted, in namespaces of its own; what it starts ends with it. */
export async function runIn(tree: string, argv: readonly string[]): Promise<string> {
  const apart = ["--mount", "--net", "--pid", "--fork", "--kill-child", "chroot", tree];
  return await execute("unshare", [...apart, ...argv], { ...PLAIN, DEBIAN_FRONTEND: "noninteractive" });
}
