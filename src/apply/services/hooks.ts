import { AgentError } from "../../base/errors.ts";
import { lastWords } from "../../base/printable.ts";
import { endedWell, howItEnded } from "../../base/run.ts";
import { MINUTE } from "../../base/time.ts";
import type { Desired, Hooks } from "../../core/ports.ts";
import { type Host, labelled } from "../host.ts";

const TIMEOUT = 5 * MINUTE;
/** How much of a program's last words goes into an error. */
const LAST_WORDS = 500;

/**
 * Runs a hook of a spec where it has one; answers whether it has. The certificate's name and the outputs' paths are in
 * its environment, nothing from the CA is. Throws `HOOK_FAILED`.
 */
export async function runHook(
  { system }: Pick<Host, "system">,
  { name, hooks, outputs }: Desired,
  hook: keyof Hooks,
  signal: AbortSignal,
): Promise<boolean> {
  const argv = hooks[hook];
  if (argv === null) return false;
  const env = { CERTAGENT_NAME: name, CERTAGENT_PATHS: outputs.map(({ path }) => path).join(":") };
  const failed = (fact: string, cause?: unknown): AgentError =>
    new AgentError("HOOK_FAILED", `Cannot run the "${hook}" hook ${JSON.stringify(argv)}: ${fact}`, { cause });
  const result = await labelled(system, name)
    .run(argv, { timeout: TIMEOUT, env, signal })
    .catch((error: unknown) => {
      signal.throwIfAborted();
      throw failed(error instanceof Error ? error.message : String(error), error);
    });
  if (endedWell(result)) return true;
  const ending = `it ${howItEnded(result, TIMEOUT)}`;
  const words = lastWords(result.output, LAST_WORDS);
  throw failed(words === "" ? `${ending} and printed nothing` : `${ending}: ${words}`);
}
