import { AgentError } from "../base/errors.ts";
import type { RenewOutcome } from "../core/status-document.ts";
import { layoutOf } from "../store/layout.ts";
import { misused } from "./arguments.ts";
import { type Command, placesOf } from "./command.ts";
import type { Print } from "./print.ts";

export const renew: Command = {
  name: "renew",
  summary: "renews now through the running daemon and waits for the outcome",
  operands: "NAME… | --all",
  options: [
    { name: "all", description: "every certificate of this host" },
    { name: "json", description: "the outcomes as a document" },
  ],
  description: `Asks the running agent for a renewal, whatever the renewal window, back-off and storm breaker say, and waits until
it is deployed and looked at. A renewal that fails is kept as a wish: the agent tries it again, with back-off,
until it succeeds or the agent restarts. Ctrl-C ends the waiting, not the renewal.`,
  examples: [
    ["certagent renew web", "one certificate"],
    ["certagent renew --all", "all, for instance after the CA's key was changed"],
  ],
  exitCodes: [
    [0, "all were renewed and are in force"],
    [1, "at least one was not, or no agent runs"],
    [2, "used wrongly, or there is no spec of that name"],
  ],
  run: async (invocation, { print }) => {
    const all = invocation.isSet("all");
    if (all === invocation.operands.length > 0) {
      throw misused("renew takes either names or --all", "certagent renew web", "certagent renew --all");
    }
    const { state, runtime } = placesOf(invocation);
    const { control } = layoutOf(state, runtime);
    const { askRenew } = await import("./control-client.ts");
    // Of one alone the outcome says the same.
    const isOne = invocation.operands.length === 1;
    const outcomes = await askRenew(control, all ? "all" : invocation.operands, ({ name, message }) => {
      if (!isOne) print.note(`${name}: ${message}`);
    });
    if (outcomes === undefined) throw nobodyThere(control);
    if (invocation.isSet("json")) print.json({ certificates: outcomes });
    else printOutcomes(print, outcomes);
    return outcomes.every(({ ok }) => ok) ? 0 : 1;
  },
};

function nobodyThere(control: string): AgentError {
  return new AgentError("AGENT_UNREACHABLE", `Cannot renew: no agent answers in "${control}"`, {
    hint: "start it (certagent run, or systemctl start certagent); without it, certagent once renews what is due",
  });
}

function printOutcomes(print: Print, outcomes: readonly RenewOutcome[]): void {
  if (outcomes.length === 0) print.line("there are no specs");
  for (const { name, ok, renewed = ok, state, message, hint } of outcomes) {
    const text = renewed ? "renewed" : "not renewed";
    const verdict = { text, style: ok ? "green" : "red" } as const;
    print.line({ text: name, style: "bold" }, ": ", verdict, `, ${state}: ${message}`);
    for (const line of hint?.split("\n") ?? []) print.line(`  hint: ${line}`);
  }
}
