import { asAgentError } from "../base/errors.ts";
import { parseCommand, parseInvocation } from "./arguments.ts";
import type { ExitCode, World } from "./command.ts";
import { COMMANDS } from "./commands.ts";
import { printCommandHelp } from "./help.ts";
import { relay } from "./relay.ts";

/** What stands for a command although it looks like an option. */
const ALIASES: Readonly<Record<string, string>> = { "--help": "help", "-h": "help", "--version": "version" };

/** Does what the command line says; `argv` is without Node and the program. Never rejects. */
export async function certagent(argv: readonly string[], world: World): Promise<ExitCode> {
  try {
    const [first = "", ...others] = argv;
    const words = ALIASES[first] === undefined ? argv : [ALIASES[first], ...others];
    // What certagent starts by itself is in no help and no suggestion.
    const known = words[0] === relay.name ? [relay] : COMMANDS;
    const { command, rest } = parseCommand(words, known);
    const invocation = parseInvocation(command, rest);
    if (!invocation.isSet("help")) return await command.run(invocation, world);
    printCommandHelp(world.print, command);
    return 0;
  } catch (thrown) {
    world.print.error(thrown);
    return asAgentError(thrown).code === "USAGE" ? 2 : 1;
  }
}
