import { parseCommand } from "./arguments.ts";
import { COMMON_OPTIONS, type Command, type Option } from "./command.ts";
import type { Print } from "./print.ts";
import { VERSION } from "./version.ts";

export const EXIT_CODES: readonly (readonly [string, string])[] = [
  ["0", "done"],
  ["1", "failed"],
  ["2", "used wrongly"],
  ["3", "something needs attention (status)"],
];

export const FILES: readonly (readonly [string, string])[] = [
  ["/etc/certagent/certagent.yaml", "host configuration: issuers, defaults (--config)"],
  ["/etc/certagent.d/*.yaml", "specs: what is wanted, one certificate each (--specs)"],
  ["/var/lib/certagent/", "keys, generations and facts (--state)"],
  ["/run/certagent/control/agent.sock", "where the running agent is asked (--runtime)"],
];

/** How the provisioner's secret comes to certagent.service, which finds it by its name. */
export const SECRET_LINE =
  "systemd-creds encrypt --name=provisioner-password - /etc/credstore.encrypted/provisioner-password";

export const help: Command = {
  name: "help",
  summary: "explains certagent or one of its commands",
  operands: "[COMMAND]",
  options: [],
  description: "Explains certagent, or the command of that name, as `certagent COMMAND --help` does.",
  examples: [
    ["certagent help", "all commands"],
    ["certagent help status", "all about one"],
  ],
  exitCodes: [
    [0, "done"],
    [2, "used wrongly"],
  ],
  run: async ({ operands }, { print }) => {
    const { COMMANDS } = await import("./commands.ts");
    if (operands.length === 0) printHelp(print, COMMANDS);
    else printCommandHelp(print, parseCommand(operands, COMMANDS).command);
    return 0;
  },
};

/** The help of the program: enough to find the command. */
function printHelp(print: Print, commands: readonly Command[]): void {
  print.line({ text: `certagent ${VERSION}`, style: "bold" }, ": valid certificates on this host, proven to be served");
  heading(print, "Usage");
  print.line("  certagent COMMAND [options]");
  heading(print, "Commands");
  print.table(commands.map(({ name, operands, summary }) => [`  ${name} ${operands}`, summary]));
  heading(print, "Options of every command");
  printOptions(print, COMMON_OPTIONS);
  heading(print, "Examples");
  print.table([
    ["  certagent check", "is what I wrote right?"],
    ["  certagent plan", "what would be done, and when?"],
    ["  certagent status", "is every certificate in place and served?"],
    ["  certagent status --help", "all about one command"],
  ]);
  heading(print, "The provisioner's password, for certagent.service (then: systemctl restart certagent)");
  print.line(`  ${SECRET_LINE}`);
  heading(print, "Exit codes");
  print.table(EXIT_CODES.map(([code, meaning]) => [`  ${code}`, meaning]));
  heading(print, "Files");
  print.table(FILES.map(([path, what]) => [`  ${path}`, what]));
}

/** All about one command. */
export function printCommandHelp(print: Print, command: Command): void {
  const { name, summary, operands, options, description, examples, exitCodes } = command;
  print.line({ text: `certagent ${name}`, style: "bold" }, `: ${summary}`);
  heading(print, "Usage");
  print.line(`  ${["certagent", name, operands, "[options]"].filter((word) => word !== "").join(" ")}`);
  print.line();
  for (const line of description.trim().split("\n")) print.line(line);
  if (options.some(({ isHidden }) => !isHidden)) {
    heading(print, "Options");
    printOptions(print, options);
  }
  heading(print, "Options of every command");
  printOptions(print, COMMON_OPTIONS);
  heading(print, "Examples");
  print.table(examples.map(([line, purpose]) => [`  ${line}`, purpose]));
  heading(print, "Exit codes");
  print.table(exitCodes.map(([code, meaning]) => [`  ${code}`, meaning]));
  heading(print, "Files");
  print.table(FILES.map(([path, what]) => [`  ${path}`, what]));
}

function heading(print: Print, text: string): void {
  print.line();
  print.line({ text: `${text}:`, style: "bold" });
}

function printOptions(print: Print, options: readonly Option[]): void {
  print.table(
    options
      .filter(({ isHidden }) => !isHidden)
      .map(({ name, value, choices, description, default: byDefault }) => {
        const values = choices === undefined ? "" : `; ${choices.join(", ")}`;
        const unlessTold = byDefault === undefined ? "" : ` (default ${byDefault})`;
        return [`  --${name}${value === undefined ? "" : ` ${value}`}`, `${description}${values}${unlessTold}`];
      }),
  );
}
