import { misused } from "./arguments.ts";
import type { Command } from "./command.ts";

const KINDS = ["host", "spec"] as const;

export const schema: Command = {
  name: "schema",
  summary: "JSON Schema of the host configuration or of specs, for editors",
  operands: "host | spec",
  options: [],
  description: `Prints the JSON Schema (draft 2020-12) of what operators write, for completion and complaints in editors. It
accepts every file that certagent accepts. With yaml-language-server, a first line in the file names it, by its path
from there:
  # yaml-language-server: $schema=spec.schema.json`,
  examples: [
    ["certagent schema spec > spec.schema.json", "of /etc/certagent.d/*.yaml"],
    ["certagent schema host > host.schema.json", "of /etc/certagent/certagent.yaml"],
  ],
  exitCodes: [
    [0, "done"],
    [2, "used wrongly"],
  ],
  run: async ({ operands }, { print }) => {
    const kind = KINDS.find((one) => one === operands[0]);
    if (kind === undefined || operands.length !== 1) {
      throw misused("schema takes host or spec", "certagent schema host", "certagent schema spec");
    }
    const { jsonSchema } = await import("../spec/schema.ts");
    print.json(jsonSchema(kind));
    return 0;
  },
};
