import packageFile from "../../package.json" with { type: "json" };
import type { Command } from "./command.ts";

export const VERSION: string = packageFile.version;

export const version: Command = {
  name: "version",
  summary: "which version this is",
  operands: "",
  options: [],
  description: "Prints the version of certagent and of the Node that runs it. `certagent --version` does the same.",
  examples: [["certagent version", "certagent 0.1.0 (node 26.10.0)"]],
  exitCodes: [[0, "done"]],
  run: async (_invocation, { print }) => {
    print.line(`certagent ${VERSION} (node ${process.versions.node})`);
    return 0;
  },
};
