import { realpath } from "node:fs/promises";
import type { Log } from "../base/log.ts";
import type { Run } from "../base/run.ts";
import type { Clock } from "../base/time.ts";
import { type Layout, layoutOf } from "../store/layout.ts";
import type { World } from "./command.ts";
import { VERSION } from "./version.ts";

/** Where everything is: absolute paths. */
export interface Places {
  readonly config: string;
  readonly specs: string;
  readonly state: string;
  readonly runtime: string;
}

/** The real world, as `main.ts` found it. */
export interface Surroundings {
  readonly clock: Clock;
  readonly run: Run;
  readonly log: Log;
  /** The user that this process runs as. */
  readonly uid: number;
  readonly version: string;
  /** systemd's folder of credentials; undefined where there is none. */
  readonly credentialsDirectory: string | undefined;
}

export function surroundingsOf({ clock, run, uid, env }: World, log: Log): Surroundings {
  return { clock, run, log, uid, version: VERSION, credentialsDirectory: env["CREDENTIALS_DIRECTORY"] };
}

/** A state folder may be a link to another disk; what lies in it may not be reached through links. */
export async function layoutIn({ state, runtime }: Places): Promise<Layout> {
  return layoutOf(await realpath(state).catch(() => state), runtime);
}
