import type { Instant } from "../base/time.ts";
import type { PlanDocument } from "../core/status-document.ts";
import { layoutOf } from "../store/layout.ts";
import { type Command, type Invocation, placesOf, type World } from "./command.ts";
import type { Print } from "./print.ts";
import { relative } from "./relative.ts";

export const plan: Command = {
  name: "plan",
  summary: "what would be done now, why, and when next; changes nothing",
  operands: "[NAME…]",
  options: [{ name: "json", description: "the whole document, with times in RFC 3339" }],
  description: `Observes files and services of the named certificates, or of all, and tells the next action of each with
its reason and its steps. The running agent is asked; where none runs, the plan is made from what is on disk,
and that is said on standard error.

Actions: adopt (a pair that stands there already), issue, apply (write files, reload services), prove (see what
is served), wait.`,
  examples: [
    ["certagent plan", "of all certificates"],
    ["certagent plan web", "of one, after its spec was edited"],
    ["certagent plan --specs ./specs --json", "of specs elsewhere, for scripts"],
  ],
  exitCodes: [
    [0, "done"],
    [1, "the agent may not be asked, or what is on disk cannot be read"],
    [2, "used wrongly, or there is no spec of that name"],
  ],
  run: async (invocation, world) => {
    const document = await makePlan(invocation, world);
    if (invocation.isSet("json")) world.print.json(document);
    else printPlan(world.print, document, world.clock.now());
    return 0;
  },
};

async function makePlan(invocation: Invocation, world: World): Promise<PlanDocument> {
  const { state, runtime } = placesOf(invocation);
  const { askPlan } = await import("./control-client.ts");
  const document = await askPlan(layoutOf(state, runtime).control, invocation.operands);
  if (document !== undefined) return document;
  const { offlineAgent } = await import("./offline.ts");
  const { planFromDisk } = await import("../agent/offline.ts");
  const agent = await offlineAgent(invocation, world);
  return await planFromDisk(agent, { names: invocation.operands }, world.unread);
}

function printPlan(print: Print, { certificates }: PlanDocument, now: Instant): void {
  if (certificates.length === 0) print.line("there are no specs");
  for (const { name, action, because, at, steps } of certificates) {
    const when = at === null ? "" : ` ${relative(at, now)}`;
    print.line({ text: name, style: "bold" }, ": ", { text: action, style: "green" }, `${when}, ${because}`);
    for (const step of steps) print.line(`  - ${step}`);
  }
}
