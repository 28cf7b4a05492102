/** The root side of two processes, started whenever something is asked, as certagent-apply.path does. */
import { spawn } from "node:child_process";
import { readdir, readFile } from "node:fs/promises";
import { nodeFlags } from "../../scripts/pinned-node.mjs";
import { type Milliseconds, pause, SECOND } from "../../src/base/time.ts";
import { layoutOf } from "../../src/store/layout.ts";
import type { Home } from "../servers/program.ts";
import { cpuOfChildren } from "./process-figures.ts";

export interface MeasuredRoot extends AsyncDisposable {
  /**
   * The processor time of all its processes so far, their starts and commands included, once nothing was asked for a
   * while and none runs. No other child of the bench may end meanwhile.
   */
  used(): Promise<Milliseconds>;
}

const POLL: Milliseconds = 10;
/** How long after its last report the agent may ask again. */
const QUIET: Milliseconds = SECOND;

export function startMeasuredRoot(home: Home, bundle: string): MeasuredRoot {
  const { requests } = layoutOf(home.state, home.runtime);
  const over = new AbortController();
  let quietFor: Milliseconds = 0;
  const serve = async (): Promise<void> => {
    const argv = ["--jitless", ...nodeFlags("apply"), bundle, "apply", "--requests", ...home.options];
    const child = spawn(process.execPath, argv, { stdio: "ignore", env: { PATH: "/usr/bin:/bin" }, cwd: "/" });
    await new Promise((resolve) => child.once("close", resolve));
  };
  const watching = (async () => {
    while (!over.signal.aborted) {
      const names = await readdir(requests).catch(() => []);
      // Names that begin with a dot do not count for systemd either.
      const isAsked = names.some((name) => !name.startsWith("."));
      quietFor = isAsked ? 0 : quietFor + POLL;
      if (isAsked) await serve();
      else await pause(POLL, over.signal);
    }
  })();
  return {
    used: async () => {
      quietFor = 0;
      while (quietFor < QUIET) await pause(POLL);
      return cpuOfChildren(await readFile("/proc/self/stat", "utf8"));
    },
    [Symbol.asyncDispose]: async () => {
      over.abort();
      await watching;
    },
  };
}
