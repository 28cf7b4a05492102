import { type Milliseconds, pause, SECOND } from "../base/time.ts";
import { needsAttention } from "../core/status.ts";
import type { StatusDocument } from "../core/status-document.ts";
import { layoutOf } from "../store/layout.ts";
import { type Command, type ExitCode, type Invocation, placesOf, type World } from "./command.ts";
import type { Print } from "./print.ts";
import { printStatus } from "./status-table.ts";

export const status: Command = {
  name: "status",
  summary: "one line a certificate: state, proven or not, expiry, next action, last failure",
  operands: "[NAME…]",
  options: [
    { name: "json", description: "the whole document, with times in RFC 3339" },
    { name: "watch", description: "show it again when it changes; on a terminal in place" },
  ],
  description: `Asks the running agent about the named certificates, or about all. Where no agent runs, the answer
is told from what is on disk, and that is said on standard error (agent.running is false in --json).

States: pending (nothing issued yet), current (its services were seen to serve it), unproven (deployed, not
seen to be served yet, or a file is not as the spec says), renewing, failing (with the failure and the next
try), expired, paused, invalid (the spec cannot be understood). Each that needs attention is explained below
the table.`,
  examples: [
    ["certagent status", "all certificates of this host"],
    ["certagent status web mail", "these two"],
    ["certagent status --watch", "stay, and follow what happens"],
    ["certagent status --json | jq -r '.certificates[] | select(.state != \"current\") | .name'", "for scripts"],
  ],
  exitCodes: [
    [0, "every certificate is current or renewing, and neither a spec nor the configuration is broken"],
    [1, "the agent may not be asked, or what is on disk cannot be read"],
    [2, "used wrongly, or there is no spec of that name"],
    [3, "something needs attention"],
  ],
  run: async (invocation, world) => {
    if (invocation.isSet("watch")) return await watch(invocation, world);
    const document = await createLook(invocation, world)();
    const problems = problemsIn(document);
    for (const problem of problems) world.print.note(problem, problem === problems.at(-1) ? REMEDY : null);
    if (invocation.isSet("json")) world.print.json(document);
    else printStatus(world.print, document.certificates, world.clock.now());
    return exitCodeOf(document);
  },
};

const REMEDY = "certagent check says how to mend it";

/** Those of the configuration. Without an agent they are told already, in the words of its journal. */
function problemsIn({ agent, problems = [] }: StatusDocument): readonly string[] {
  return agent.running ? problems : [];
}

type Look = () => Promise<StatusDocument>;

/** Asks the agent, and what is on disk where none runs. The latter is opened once, however often it is asked. */
function createLook(invocation: Invocation, world: World): Look {
  const { state, runtime } = placesOf(invocation);
  const { control } = layoutOf(state, runtime);
  let fromDisk: Look | undefined;
  return async () => {
    const { askStatus } = await import("./control-client.ts");
    const document = await askStatus(control, invocation.operands);
    if (document !== undefined) {
      fromDisk = undefined;
      return document;
    }
    fromDisk ??= await openDisk(invocation, world);
    return await fromDisk();
  };
}

async function openDisk(invocation: Invocation, world: World): Promise<Look> {
  const { offlineAgent } = await import("./offline.ts");
  const { statusFromDisk } = await import("../agent/offline.ts");
  const { VERSION: version } = await import("./version.ts");
  const agent = await offlineAgent(invocation, world);
  return async () => await statusFromDisk(agent, { version, names: invocation.operands }, world.unread);
}

const LOOK_EVERY: Milliseconds = SECOND;

/** Until nobody reads any more, or Ctrl-C. Relative times alone are no change, except on a screen. */
async function watch(invocation: Invocation, world: World): Promise<ExitCode> {
  const { print, clock, unread } = world;
  const look = createLook(invocation, world);
  let shown = "";
  let document = await look();
  const show = (page: Print): void => {
    for (const problem of problemsIn(document)) page.line({ text: problem, style: "red" });
    printStatus(page, document.certificates, clock.now());
  };
  while (!unread.aborted) {
    const text = JSON.stringify([document.problems, document.certificates]);
    if (!invocation.isSet("json") && print.isTerminal) print.redraw(show);
    else if (text !== shown && invocation.isSet("json")) print.jsonLine(document);
    else if (text !== shown) show(print);
    shown = text;
    await pause(LOOK_EVERY, unread);
    document = await look();
  }
  return exitCodeOf(document);
}

function exitCodeOf({ problems = [], certificates }: StatusDocument): ExitCode {
  return problems.length > 0 || certificates.some(needsAttention) ? 3 : 0;
}
