import { AgentError } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { COMMON_OPTIONS, type Command, type Invocation, type Option } from "./command.ts";

/** The command that is asked for, and what it is called with. Throws `USAGE`, with the nearest word that there is. */
export function parseCommand(
  argv: readonly string[],
  commands: readonly Command[],
): { readonly command: Command; readonly rest: readonly string[] } {
  const [name, ...rest] = argv;
  const names = commands.map((command) => command.name);
  if (name === undefined) throw misused("No command given", `there are ${names.join(", ")}`, "certagent --help");
  const command = commands.find((one) => one.name === name);
  if (command !== undefined) return { command, rest };
  if (name.startsWith("-")) throw misused(`Unknown option "${name}"`, "a command comes first", "certagent --help");
  throw misused(`Unknown command "${name}"`, ...suggestion(name, names), "certagent --help lists the commands");
}

/** Options and operands of a command, judged. Throws `USAGE`. */
export function parseInvocation(command: Command, args: readonly string[]): Invocation {
  const options = [...command.options, ...COMMON_OPTIONS];
  const values = new Map<string, string>();
  const operands: string[] = [];
  for (let index = 0; index < args.length; index++) {
    const arg = args[index] ?? "";
    if (arg === "--") {
      operands.push(...args.slice(index + 1));
      break;
    }
    if (!arg.startsWith("-") || arg === "-") {
      operands.push(arg);
      continue;
    }
    const [word, inline] = arg === "-h" ? ["--help"] : splitOnce(arg);
    const option = optionOf(word, command, options);
    if (option.value === undefined) {
      if (inline !== undefined) throw misused(`"${word}" takes no value`, helpOf(command));
      values.set(option.name, "");
    } else {
      const next = inline ?? args[++index];
      values.set(option.name, valueOf(option, next, inline === undefined, command));
    }
  }
  if (command.operands === "" && operands.length > 0 && !values.has("help")) {
    throw misused(`"certagent ${command.name}" takes no "${operands[0]}"`, helpOf(command));
  }
  return {
    operands,
    value: (name) => values.get(name) ?? options.find((option) => option.name === name)?.default ?? "",
    isSet: (name) => values.has(name),
  };
}

/** A `USAGE` error: exit code 2. */
export function misused(message: string, ...hints: readonly string[]): AgentError {
  return new AgentError("USAGE", message, { hint: hints.join("\n") });
}

function splitOnce(arg: string): readonly [string, string?] {
  const at = arg.indexOf("=");
  return at < 0 ? [arg] : [arg.slice(0, at), arg.slice(at + 1)];
}

function optionOf(word: string, command: Command, options: readonly Option[]): Option {
  const option = options.find(({ name }) => word === `--${name}`);
  if (option !== undefined) return option;
  const known = options.filter(({ isHidden }) => !isHidden).map(({ name }) => `--${name}`);
  throw misused(`Unknown option "${word}" of "certagent ${command.name}"`, ...suggestion(word, known), helpOf(command));
}

function valueOf({ name, value, choices }: Option, given: string | undefined, isNextWord: boolean, command: Command) {
  if (given === undefined || given === "" || (isNextWord && given.startsWith("--"))) {
    throw misused(`"--${name}" needs a value`, `--${name} ${value}`, helpOf(command));
  }
  if (choices === undefined || choices.includes(given)) return given;
  throw misused(`"--${name}" cannot be "${given}"`, ...suggestion(given, choices), `one of ${choices.join(", ")}`);
}

function suggestion(word: string, known: readonly string[]): readonly string[] {
  const meant = nearest(word, known);
  return meant === undefined ? [] : [`did you mean "${meant}"?`];
}

function helpOf(command: Command): string {
  return `certagent ${command.name} --help`;
}
