/** `once` by root on a state folder of another user: the agent's half is done as that user, root's half by root. */
import { dirname } from "node:path";
import { serve } from "../apply/requests/serve.ts";
import { makeFolder, makeFolders } from "../base/folder.ts";
import type { Logger } from "../base/logger.ts";
import { startAs, type User } from "../base/run.ts";
import type { Layout } from "../store/layout.ts";
import { COMMON_OPTIONS, type ExitCode, type Invocation, placesOf, TERMINALS, type World } from "./command.ts";
import { APPLY_OPTION, modeOf } from "./guard.ts";
import { LOG_OPTION } from "./logging.ts";
import { holdRootSide } from "./root-side.ts";
import { stopSignal } from "./signals.ts";
import { surroundingsOf } from "./surroundings.ts";

/** What of the environment means something to the agent's half. */
const KNOWN_VARIABLES = ["CREDENTIALS_DIRECTORY", "NO_COLOR", "TERM", TERMINALS];

/** Starts this program once more as the owner of the state folder, and serves what that one asks until it ends. */
export async function onceApart(
  owner: User,
  invocation: Invocation,
  world: World,
  layout: Layout,
  { log, passOn }: Logger,
): Promise<ExitCode> {
  await using opened = await holdRootSide(placesOf(invocation), surroundingsOf(world, log), layout);
  await opened.recover();
  await makeFolders(dirname(layout.requests), { mode: 0o755 });
  await makeFolder(layout.requests, { mode: 0o700, ...owner });
  const { applier } = opened;
  // Whoever has taken over the agent's half writes words here, and does nothing else to a terminal.
  const half = await startAs(owner, sameCall(invocation, world), environmentOf(world), (line, from) =>
    from === "output" ? world.print.passOn(line) : passOn(line),
  );
  const stop = (): void => half.signal("SIGTERM");
  const stopped = stopSignal(world.signals);
  // It may have come while another root side was waited for.
  if (stopped.aborted) stop();
  else stopped.addEventListener("abort", stop);
  const over = new AbortController();
  const serving = serve({ applier, layout, clock: world.clock, log, linger: Number.POSITIVE_INFINITY }, over.signal);
  serving.catch(stop); // it is thrown below
  const { exitCode } = await half.ended;
  over.abort();
  await serving;
  return (exitCode ?? 1) as ExitCode;
}

/** What this process was called with, but for who writes outputs. */
function sameCall(invocation: Invocation, world: World): readonly string[] {
  const valued = [...COMMON_OPTIONS, LOG_OPTION].filter(({ value }) => value !== undefined);
  const options = valued.map(({ name }) => `--${name}=${invocation.value(name)}`);
  const apart = `--${APPLY_OPTION.name}=${modeOf(invocation, world).apart}`;
  return [...world.program, "once", apart, ...options, "--", ...invocation.operands];
}

/** Its streams are pipes: whether they are shown on a terminal, and so in colour, it cannot see. */
function environmentOf({ env, print, log }: World): Readonly<Record<string, string>> {
  const all: World["env"] = { ...env, [TERMINALS]: `${print.isTerminal ? 1 : ""}${log.isTerminal ? 2 : ""}` };
  return Object.fromEntries(KNOWN_VARIABLES.flatMap((name) => (all[name] === undefined ? [] : [[name, all[name]]])));
}
