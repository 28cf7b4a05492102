/** certagent itself, as its users run it: the bundle with the shipped flags, a process of its own, in folders of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { rmSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { bundle } from "../../scripts/build.ts";
import { nodeFlags } from "../../scripts/pinned-node.mjs";
import { MINUTE, pause, systemClock } from "../../src/base/time.ts";
import { askStatus } from "../../src/cli/control-client.ts";
import type { CertificateStatus, StatusDocument } from "../../src/core/status-document.ts";
import { layoutOf } from "../../src/store/layout.ts";

/** The folders of one agent. */
export interface Home extends AsyncDisposable {
  readonly folder: string;
  readonly config: string;
  readonly specs: string;
  readonly state: string;
  readonly runtime: string;
  /** The options that name them. */
  readonly options: readonly string[];
  /** Replaces the host configuration, as an editor does. */
  configure(config: unknown): Promise<void>;
  /** Adds or replaces a spec, as an editor does. */
  write(name: string, text: string): Promise<void>;
  remove(name: string): Promise<void>;
  /** The same configuration, specs and outputs, and a state of its own: the host after a reinstallation. */
  reinstalled(): Home;
}

/** Empty folders in a temporary one, and the host configuration. */
export async function makeHome(config?: unknown): Promise<Home> {
  const folder = await mkdtemp(join(tmpdir(), "certagent-home-"));
  await mkdir(join(folder, "specs"));
  const home = homeIn(folder, "first");
  if (config !== undefined) await home.configure(config);
  return home;
}

function homeIn(folder: string, life: string): Home {
  const config = join(folder, "certagent.yaml");
  const specs = join(folder, "specs");
  const [state, runtime] = [join(folder, `${life}-state`), join(folder, `${life}-run`)];
  const put = async (path: string, content: string): Promise<void> => {
    await writeFile(join(folder, "edited"), content, { mode: 0o644 });
    await rename(join(folder, "edited"), path);
  };
  return {
    folder,
    config,
    specs,
    state,
    runtime,
    options: ["--config", config, "--specs", specs, "--state", state, "--runtime", runtime],
    configure: (content) => put(config, typeof content === "string" ? content : JSON.stringify(content, null, 2)),
    write: (name, spec) => put(join(specs, `${name}.yaml`), spec),
    remove: (name) => rm(join(specs, `${name}.yaml`)),
    reinstalled: () => homeIn(folder, "second"),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** How a command has ended. */
export interface Outcome {
  readonly code: number | null;
  readonly signal: string | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export async function certagent(
  home: Pick<Home, "options">,
  ...argv: readonly [string, ...string[]]
): Promise<Outcome> {
  const child = await startCertagent([...argv, ...home.options]);
  return await child.ended;
}

export interface AgentSettings {
  readonly level?: "debug" | "info";
  readonly env?: Readonly<Record<string, string>>;
  /** Further options of `run`. */
  readonly options?: readonly string[];
  /** A program and its arguments that certagent is started by, and that it replaces: `unshare -m`. */
  readonly through?: readonly string[];
  /** Whether anybody reads its output; `closed` is a pipe that was. */
  readonly output?: "read" | "unread" | "closed";
}

/** A running `certagent run`. */
export interface Agent extends AsyncDisposable {
  readonly pid: number;
  /** What it has written to its log, a line an entry. */
  journal(): readonly string[];
  status(): Promise<StatusDocument>;
  certificate(name: string): Promise<CertificateStatus>;
  /** Asks for the status until the condition holds. Throws with the status and the journal when it never does. */
  until(what: string, holds: (certificates: Certificates) => boolean): Promise<Certificates>;
  send(signal: NodeJS.Signals): void;
  readonly ended: Promise<Outcome>;
  /** Sends the signal, and waits for the end. */
  stop(signal?: NodeJS.Signals): Promise<Outcome>;
}

/** Certificates by their names. Asking for one that is not there is a failure of the test. */
export type Certificates = ReadonlyMap<string, CertificateStatus>;

/** No machine is so busy that this is not a failure. */
const PATIENCE = 2 * MINUTE;

/** Starts the daemon, and waits until it can be asked. */
export async function startAgent(home: Home, settings: AgentSettings = {}): Promise<Agent> {
  const child = await startCertagent(
    ["run", "--log-level", settings.level ?? "debug", ...(settings.options ?? []), ...home.options],
    settings,
  );
  const { control } = layoutOf(home.state, home.runtime);
  const lines = (): readonly string[] => child.stderr().split("\n").slice(0, -1);
  const ask = async (): Promise<StatusDocument> => {
    const document = await askStatus(control, []);
    if (document === undefined) throw new Error(`no agent answers:\n${lines().slice(-30).join("\n")}`);
    return document;
  };
  const agent: Agent = {
    pid: child.pid,
    journal: lines,
    status: ask,
    certificate: async (name) => {
      const found = (await ask()).certificates.find((one) => one.name === name);
      if (found === undefined) throw new Error(`there is no certificate ${name}`);
      return found;
    },
    until: async (what, holds) => {
      const end = systemClock.monotonic() + PATIENCE;
      for (;;) {
        const { certificates } = await ask();
        const byName = new Map(certificates.map((one) => [one.name, one]));
        if (holds(byName)) return byName;
        if (systemClock.monotonic() > end)
          throw new Error(`never happened: ${what}\n${explain(certificates, lines())}`);
        await pause(100);
      }
    },
    send: (signal) => void child.process.kill(signal),
    ended: child.ended,
    stop: async (signal = "SIGTERM") => {
      child.process.kill(signal);
      return await child.ended;
    },
    [Symbol.asyncDispose]: async () => {
      child.process.kill("SIGKILL");
      await child.ended;
    },
  };
  const isReady = async (): Promise<boolean> => (await askStatus(control, [])) !== undefined;
  while (!(await isReady())) {
    if (child.process.exitCode !== null) throw new Error(`certagent ended:\n${child.stderr()}`);
    await pause(50);
  }
  return agent;
}

function explain(certificates: readonly CertificateStatus[], journal: readonly string[]): string {
  const states = certificates.map(({ name, state, because, next, failure }) =>
    JSON.stringify({ name, state, because, next, failure }),
  );
  return [...states, "", ...journal.filter((line) => !line.startsWith("<7>")).slice(-40)].join("\n");
}

/** A process of certagent. */
export interface Child {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly ended: Promise<Outcome>;
  stderr(): string;
}

/** Starts certagent, and waits for nothing. */
export async function startCertagent(
  argv: readonly string[],
  { env, through = [], flags = [], output = "read" }: AgentSettings & { readonly flags?: readonly string[] } = {},
): Promise<Child> {
  const program = [process.execPath, ...flags, ...nodeFlags(argv[0]), await bundled(), ...argv];
  // A test that is ended by force must not leave agents behind.
  const child = spawn("/usr/bin/setpriv", ["--pdeathsig=KILL", ...through, ...program], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin", LANG: "C.UTF-8", ...env },
    cwd: "/",
  });
  let [stdout, stderr] = ["", ""];
  if (output === "read") {
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (stdout += chunk));
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (stderr += chunk));
  } else if (output === "closed") {
    child.stdout.destroy();
    child.stderr.destroy();
  }
  const ended = new Promise<Outcome>((resolve, reject) => {
    child.once("error", reject);
    if (output === "read") child.once("close", (code, signal) => resolve({ code, signal, stdout, stderr }));
    else {
      // What a pipe that nobody read still holds shows that it was full.
      child.once("exit", (code, signal) => {
        const left = output === "unread" ? text(child.stderr) : Promise.resolve("");
        left.then((rest) => resolve({ code, signal, stdout, stderr: rest }), reject);
      });
    }
  });
  return { process: child, pid: child.pid ?? 0, ended, stderr: () => stderr };
}

let built: Promise<string> | undefined;

/** The path of the bundle, built once for a test file. */
export function bundled(): Promise<string> {
  built ??= build();
  return built;
}

async function build(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "certagent-bundle-"));
  await chmod(folder, 0o755); // agents run as other users too
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  process.once("exit", remove);
  // vitest ends its workers so.
  process.once("SIGTERM", () => {
    remove();
    process.kill(process.pid, "SIGTERM");
  });
  await bundle("src/main.ts", folder);
  return join(folder, "certagent.mjs");
}
