import { lstat } from "node:fs/promises";
import { basename } from "node:path";
import { ownUid } from "../base/accounts.ts";
import { nodeFiles } from "../base/atomic-file.ts";
import { AgentError, asAgentError } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import { shellWord } from "../base/shell-word.ts";
import { sweepTemporaries } from "../base/sweep.ts";
import { NOBODY, reach } from "../base/trusted-folder.ts";
import { APPLY_MODES } from "../core/status-document.ts";
import type { Layout } from "../store/layout.ts";
import { lock } from "../store/lock.ts";
import type { Invocation, Option, World } from "./command.ts";
import type { Mode } from "./mode.ts";
import type { Places } from "./surroundings.ts";

export const APPLY_OPTION: Option = {
  name: "apply",
  value: "HOW",
  default: "direct",
  choices: APPLY_MODES,
  description: "who writes outputs and reloads services: this process, or certagent-apply.service",
};

/** The mode that was asked for. */
export function modeOf(invocation: Invocation, { modes }: World): Mode {
  const mode = modes[invocation.value(APPLY_OPTION.name)];
  if (mode === undefined) throw new TypeError("the option has no other values than those");
  return mode;
}

/** Throws where certagent cannot do its work as it was started. */
export function checkStart({ env }: World): void {
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new AgentError("ISSUER_REJECTED", "Cannot trust any CA: NODE_TLS_REJECT_UNAUTHORIZED=0 is set", {
      hint: "unset NODE_TLS_REJECT_UNAUTHORIZED; a CA's root is pinned in the host configuration",
    });
  }
}

/**
 * Makes the folders where state and sockets lie where they are missing. Throws `STATE_UNUSABLE` where root would work in
 * folders, `own` ones in them, that are somebody else's or that others could put something in the place of: that one
 * would decide what is written where. The two may be open to all if they are sticky, as a file system in memory is.
 */
export async function makePlaces(
  { state, runtime }: Pick<Places, "state" | "runtime">,
  own: readonly string[],
): Promise<void> {
  await makeFolders(state, { mode: 0o755 });
  if (ownUid() !== 0) return;
  await makeFolders(runtime, { mode: 0o755 });
  for (const folder of own) {
    const reached = await reach(folder, NOBODY, nodeFiles).catch((cause: unknown) => {
      const { message, hint: remedy } = asAgentError(cause);
      const other = "as root, use folders of root's for --state and --runtime, in folders of root's";
      const hint = [remedy, other].filter((text) => text !== undefined).join("; or, ");
      throw new AgentError("STATE_UNUSABLE", message, { cause, hint });
    });
    await reached[Symbol.asyncDispose]();
  }
}

/**
 * Keeps every other agent from the state folder, and clears away what one left that was killed. Throws `LOCKED`, and
 * `STATE_UNUSABLE` where root would write in another user's folder: who that is decides what is written where.
 */
export async function lockState(places: Places, { agent, control }: Layout): Promise<AsyncDisposable> {
  const { uid } = await lstat(agent.folder).catch(() => ({ uid: undefined }));
  if (ownUid() === 0 && uid !== undefined && uid !== 0) {
    throw new AgentError(
      "STATE_UNUSABLE",
      `Cannot use the state folder: "${agent.folder}" is another agent's (of user ${uid})`,
      {
        hint: `systemctl start certagent; or, to go on without that user: chown -R root ${shellWord(agent.folder)}`,
      },
    );
  }
  await makePlaces(places, [agent.folder, control]);
  const held = await lock(agent.lock);
  await sweepTemporaries(agent.folder, nodeFiles, basename(agent.allGenerations));
  return held;
}

/**
 * The same for the generations. To be called before anything is issued, and once all are told that the agent is ready: there
 * are as many folders as specs. What cannot be removed harms nobody.
 */
export async function sweepGenerations({ agent }: Layout): Promise<void> {
  await sweepTemporaries(agent.allGenerations);
}
