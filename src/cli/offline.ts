import { access, readdir } from "node:fs/promises";
import type { Agent } from "../agent/agent.ts";
import { AgentError } from "../base/errors.ts";
import { fileError, isMissing } from "../base/file-error.ts";
import type { Fields, Log } from "../base/log.ts";
import { assemble } from "./assemble.ts";
import { type Invocation, placesOf, type World } from "./command.ts";
import type { Print } from "./print.ts";
import { openRootSide } from "./root-side.ts";
import { layoutIn, type Places, surroundingsOf } from "./surroundings.ts";

/**
 * The agent's eyes without its daemon, for `status` and `plan` from what is on disk. Says that on standard error. Throws
 * `STATE_UNUSABLE` where specs or state cannot be read.
 */
export async function offlineAgent(invocation: Invocation, world: World): Promise<Agent> {
  const places = placesOf(invocation);
  await requirePlaces(places);
  await access(`${places.state}/agent/.`).catch((error: unknown) => {
    // Nothing was issued yet, which is an answer too.
    if (!isMissing(error)) throw fileError("read", `${places.state}/agent`, error, "STATE_UNUSABLE");
  });
  world.print.note("no agent runs: this is told from what is on disk", "certagent run, or systemctl start certagent");
  const log = logTo(world.print, invocation.value("log-level") === "debug");
  const surroundings = surroundingsOf(world, log);
  const layout = await layoutIn(places);
  const applier = await openRootSide(places, surroundings, layout, { readOnly: true });
  return await assemble(places, surroundings, layout, applier, { readOnly: true });
}

/**
 * Throws `STATE_UNUSABLE` where the host configuration or the folder of specs is not there: an answer about no spec, or
 * about what was last in force, would look like a good one.
 */
export async function requirePlaces({ config, specs }: Pick<Places, "config" | "specs">): Promise<void> {
  await access(config).catch(absent(config, "--config"));
  await readdir(specs).catch(absent(specs, "--specs"));
}

function absent(path: string, option: string): (cause: unknown) => never {
  return (cause) => {
    const error = fileError("read", path, cause, "STATE_UNUSABLE");
    if (!isMissing(cause) || !(error instanceof AgentError)) throw error;
    throw new AgentError(error.code, error.message, { cause, hint: `make it, or name another with ${option}` });
  };
}

/** What the agent has to tell, as notes: this is a command for people, and no service. */
function logTo(print: Print, everything: boolean): Log {
  const note = (message: string, { reason, hint, ...fields }: Fields = {}): void => {
    const facts = everything && Object.keys(fields).length > 0 ? ` ${JSON.stringify(fields)}` : "";
    const because = typeof reason === "string" ? `: ${reason}` : "";
    print.note(`${message}${because}${facts}`, typeof hint === "string" ? hint : null);
  };
  const quiet = everything ? note : () => undefined;
  return { debug: quiet, info: quiet, warning: note, error: note };
}
