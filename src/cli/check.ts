import { stat } from "node:fs/promises";
import { formatProblem, type Problem } from "../spec/problem.ts";
import { type Command, placesOf } from "./command.ts";
import type { Print } from "./print.ts";
import { layoutIn } from "./surroundings.ts";

export const check: Command = {
  name: "check",
  summary: "validates host configuration and specs, without a daemon",
  operands: "[PATH…]",
  options: [{ name: "json", description: "problems as a document" }],
  description: `Judges the host configuration and every spec as the agent would, and names each problem with file, line and
column and with what to write instead. Files and folders may be named, as in the pipeline of the repository that
holds them; away from the folder in force, owners and modes are warnings.`,
  examples: [
    ["certagent check", "what is in force on this host"],
    ["certagent check /etc/certagent.d/web.yaml", "one spec"],
    ["certagent check certagent.yaml specs/", "a working copy"],
    ["certagent check --json", "for scripts"],
  ],
  exitCodes: [
    [0, "no problem; there may be warnings"],
    [1, "at least one problem"],
    [2, "used wrongly"],
  ],
  run: async (invocation, { print, run, uid }) => {
    const places = placesOf(invocation);
    const { config, specs } = places;
    const { check: judge } = await import("../spec/check.ts");
    const { readHostFacts } = await import("../spec/host-facts.ts");
    const trust = { users: [...new Set([0, uid])] };
    const facts = await readHostFacts();
    const reader = await stat((await layoutIn(places)).agent.folder).catch(() => undefined);
    const result = await judge({
      paths: invocation.operands,
      folder: specs,
      hostFile: config,
      trust,
      reader,
      facts,
      run,
    });
    const { ok, files, problems, warnings } = result;
    if (invocation.isSet("json")) print.json(result);
    else {
      printProblems(print, problems);
      printProblems(
        print,
        warnings.map((warning) => ({ ...warning, message: `warning: ${warning.message}` })),
      );
      print.line(`${count(files, "file")}, ${count(problems.length, "problem")}, ${count(warnings.length, "warning")}`);
    }
    return ok ? 0 : 1;
  },
};

function printProblems(print: Print, problems: readonly Problem[]): void {
  for (const problem of problems) {
    print.line(formatProblem(problem));
    for (const line of problem.hint?.split("\n") ?? []) print.line(`  hint: ${line}`);
  }
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
