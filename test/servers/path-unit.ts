/** certagent-apply.path and its service, where no systemd is: the root side is started whenever something is asked. */
import { readdir } from "node:fs/promises";
import { pause } from "../../src/base/time.ts";
import { layoutOf } from "../../src/store/layout.ts";
import { type Child, type Home, startCertagent } from "./program.ts";

export interface PathUnit extends AsyncDisposable {
  /** All that the root side has told, a line an entry. */
  journal(): readonly string[];
  /** How often it was started. */
  starts(): number;
  /** The process that serves now. */
  serving(): Child | undefined;
  /** Starts nothing more for now. Resolves when what serves has ended by itself. */
  stop(): Promise<void>;
  start(): void;
}

const POLL = 50;

/** Starts `certagent apply --requests` as long as there are requests, as DirectoryNotEmpty= does. */
export function startPathUnit(home: Home, through: readonly string[] = []): PathUnit {
  const { requests } = layoutOf(home.state, home.runtime);
  const over = new AbortController();
  let [told, starts, isStopped] = ["", 0, false];
  let serving: Child | undefined;

  const serve = async (): Promise<void> => {
    starts += 1;
    serving = await startCertagent(["apply", "--requests", "--log-level", "debug", ...home.options], {
      flags: ["--jitless"],
      through,
    });
    const { stderr } = await serving.ended;
    serving = undefined;
    told += stderr;
  };
  const watching = (async () => {
    while (!over.signal.aborted) {
      const names = await readdir(requests).catch(() => []);
      // Names that begin with a dot do not count for systemd either.
      if (!isStopped && names.some((name) => !name.startsWith("."))) await serve();
      else await pause(POLL, over.signal);
    }
  })();

  return {
    journal: () => `${told}${serving?.stderr() ?? ""}`.split("\n").slice(0, -1),
    starts: () => starts,
    serving: () => serving,
    stop: async () => {
      isStopped = true;
      await serving?.ended;
    },
    start: () => {
      isStopped = false;
    },
    [Symbol.asyncDispose]: async () => {
      over.abort();
      serving?.process.kill("SIGKILL");
      await watching;
    },
  };
}
