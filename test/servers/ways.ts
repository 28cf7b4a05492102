/**
 * The ways to run certagent on a host. A test that takes one of them runs in each, and knows of it what stands here and
 * no more. Needs root.
 */
import { chmod, chown, mkdir } from "node:fs/promises";
import { layoutOf } from "../../src/store/layout.ts";
import { startPathUnit } from "./path-unit.ts";
import type { AgentSettings, Home } from "./program.ts";

/** What serves a home beside its agent. */
export interface Beside extends AsyncDisposable {
  /** All that it has told. */
  journal(): readonly string[];
}

export interface Way {
  /** As status tells it. */
  readonly name: string;
  /** The user that the agent runs as. */
  readonly user: number;
  /** How a command makes a file that user's. */
  readonly asUser: string;
  /** How the agent is started. */
  readonly agent: AgentSettings;
  /** Makes a home's folders as the package does, and starts what serves there, through a program where one is given. */
  prepare(home: Home, through?: readonly string[]): Promise<Beside>;
}

const NOBODY_ELSE = 47_110;

/** One process, which is root. */
const alone: Way = {
  name: "direct",
  user: 0,
  asUser: "",
  agent: {},
  prepare: async () => ({ journal: () => [], [Symbol.asyncDispose]: async () => undefined }),
};

/** Two processes: the agent is a user who may do nothing, and root comes when it is asked. */
const apart = {
  name: "broker",
  user: NOBODY_ELSE,
  asUser: `-o ${NOBODY_ELSE} `,
  agent: {
    options: ["--apply", "broker"],
    through: ["setpriv", `--reuid=${NOBODY_ELSE}`, `--regid=${NOBODY_ELSE}`, "--clear-groups", "--no-new-privs"],
  },
  prepare: async (home: Home, through: readonly string[] = []) => {
    await makeFoldersApart(home);
    return startPathUnit(home, through);
  },
} satisfies Way;

export const WAYS = { alone, apart } as const;

/** The folders that the package makes for two processes. */
export async function makeFoldersApart(home: Home): Promise<void> {
  const { agent, requests, control } = layoutOf(home.state, home.runtime);
  await chmod(home.folder, 0o755);
  for (const folder of [home.state, home.runtime]) await mkdir(folder, { recursive: true, mode: 0o755 });
  for (const folder of [agent.folder, requests, control]) await ownFolder(folder);
}

async function ownFolder(folder: string): Promise<void> {
  await mkdir(folder, { mode: 0o700 });
  await chown(folder, NOBODY_ELSE, NOBODY_ELSE);
}
