/** The shipped bundle with the shipped flags, and what can be measured of it from outside. */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { nodeFlags, ROOT } from "../../scripts/pinned-node.mjs";
import { MINUTE, type Milliseconds, pause, SECOND, systemClock } from "../../src/base/time.ts";
import { listenForNotifications } from "../servers/notify-socket.ts";
import type { AgentSettings, Home } from "../servers/program.ts";
import { cpuOf } from "./process-figures.ts";

/** The last line of a certificate's renewal: with a service, and without. */
export type Event = "proven" | "deployed";

export interface MeasuredAgent extends AsyncDisposable {
  readonly pid: number;
  /** From its start until it told systemd that it is ready. */
  readonly readyAfter: Milliseconds;
  /** Forgets what its log has told so far. */
  forget(): void;
  /** Resolves when the log has told this of each name since `forget`. Throws with the log where that takes too long. */
  told(event: Event, names: readonly string[]): Promise<void>;
  /** SIGHUP: reads everything again, and renews every certificate. */
  renewAll(): void;
}

/** How long a hundred certificates may take on the slowest machine. */
const PATIENCE = 5 * MINUTE;
const POLL: Milliseconds = 2;

/** Starts `certagent run` on the folders of `home`, one process unless told. Resolves when it is ready. */
export async function startMeasured(
  home: Home,
  bundle: string,
  { options = [], through = [] }: AgentSettings = {},
): Promise<MeasuredAgent> {
  const notifications = listenForNotifications(`@certagent-bench-${process.pid}`);
  const argv = [process.execPath, ...nodeFlags("run"), bundle, "run", ...options, ...home.options];
  const began = systemClock.monotonic();
  const child = spawn("/usr/bin/setpriv", ["--pdeathsig=KILL", ...through, ...argv], {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: "/usr/bin:/bin", NOTIFY_SOCKET: notifications.address },
    cwd: "/",
  });
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const told = new Set<string>();
  let [rest, journal] = ["", ""];
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    const lines = `${rest}${text}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) {
      told.add(/^<6>(\w+ certificate=\S+)/.exec(line)?.[1] ?? "");
      if (!line.startsWith("<6>")) journal += `${line}\n`;
    }
  });
  const waitFor = async (what: string, holds: () => boolean): Promise<void> => {
    const end = systemClock.monotonic() + PATIENCE;
    while (!holds()) {
      if (child.exitCode !== null) throw new Error(`certagent ended before it was ${what}:\n${journal}${rest}`);
      if (systemClock.monotonic() > end) throw new Error(`certagent never was ${what}:\n${journal}`);
      await pause(POLL);
    }
  };
  await waitFor("ready", () => notifications.received().includes("READY=1"));
  return {
    pid: child.pid ?? 0,
    readyAfter: systemClock.monotonic() - began,
    forget: () => told.clear(),
    told: (event, names) => waitFor(event, () => names.every((name) => told.has(`${event} certificate=${name}`))),
    renewAll: () => void child.kill("SIGHUP"),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGTERM");
      await ended;
      notifications[Symbol.dispose]();
    },
  };
}

/** What Node alone needs, with the same flags, from its start to its end. */
export async function startBareNode(): Promise<Milliseconds> {
  const began = systemClock.monotonic();
  const child = spawn(process.execPath, [...nodeFlags("run"), "--eval", ""], { stdio: "ignore" });
  await new Promise((resolve) => child.once("close", resolve));
  return systemClock.monotonic() - began;
}

/** Where `npm run build` puts the bundle. */
export const SHIPPED = join(ROOT, "dist", "certagent.mjs");

/** What V8 and libuv still do when the last certificate is proven. */
export const SETTLING: Milliseconds = 2 * SECOND;

/** Resolves when a process has used no processor time for a while: on a busy machine its first look at all takes longer. */
export async function atRest(pid: number): Promise<void> {
  for (let before = Number.NaN; cpuOf(pid) !== before; await pause(SETTLING)) before = cpuOf(pid);
}
