/** What shells complete after `certagent`, from the table of commands. */
import { COMMON_OPTIONS, type Command, type Option } from "../src/cli/command.ts";
import { COMMANDS } from "../src/cli/commands.ts";

const FOLDER = "packaging/completions";
const ORIGIN = '# Made by "node scripts/docs.ts" from the table of commands: change that, not this.';

/** Path from the top of the repository → text. */
export function completions(): readonly (readonly [path: string, text: string])[] {
  return [
    [`${FOLDER}/certagent.bash`, bash()],
    [`${FOLDER}/_certagent`, zsh()],
    [`${FOLDER}/certagent.fish`, fish()],
  ];
}

/** What the value of an option or an operand is, for a shell. */
type Kind = "file" | "folder" | "spec" | "other";

function kindOf({ value }: Option): Kind {
  return value === "FILE" ? "file" : value === "DIR" ? "folder" : "other";
}

function operandOf({ operands }: Command): Kind {
  if (/\b(?:FILE|PATH)\b/.test(operands)) return "file";
  return /\bNAME\b/.test(operands) ? "spec" : "other";
}

/** Words that are operands themselves: `host | spec`. */
function wordsOf({ name, operands }: Command): readonly string[] {
  if (name === "help") return COMMANDS.map((command) => command.name);
  return operands.match(/\b[a-z]+\b/g) ?? [];
}

function optionsOf({ options }: Command): readonly Option[] {
  return [...options, ...COMMON_OPTIONS].filter(({ isHidden }) => !isHidden);
}

function bash(): string {
  const values = new Map<string, string>();
  for (const option of COMMANDS.flatMap(optionsOf)) {
    if (option.value === undefined) continue;
    const { choices } = option;
    const kind = kindOf(option);
    const files = kind === "file" ? "-f" : kind === "folder" ? "-d" : "-W ''";
    values.set(`--${option.name}`, choices === undefined ? files : `-W '${choices.join(" ")}'`);
  }
  const commands = COMMANDS.map((command) => {
    const options = optionsOf(command).map(({ name }) => `--${name}`);
    const kind = operandOf(command);
    const operands = kind === "spec" ? ["$(_certagent_specs)"] : wordsOf(command);
    const files = kind === "file" ? " -f" : "";
    return `    ${command.name}) COMPREPLY=($(compgen${files} -W "${[...operands, ...options].join(" ")}" -- "$word")) ;;`;
  });
  return `# bash completion for certagent
${ORIGIN}

_certagent_specs() {
  local spec
  for spec in /etc/certagent.d/*.yaml; do
    [ -e "$spec" ] && spec=\${spec##*/} && echo "\${spec%.yaml}"
  done
}

_certagent() {
  local word=\${COMP_WORDS[COMP_CWORD]} before=\${COMP_WORDS[COMP_CWORD - 1]}
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "${COMMANDS.map(({ name }) => name).join(" ")} --help --version" -- "$word"))
    return
  fi
  case $before in
${[...values].map(([option, from]) => `    ${option}) COMPREPLY=($(compgen ${from} -- "$word")) && return ;;`).join("\n")}
  esac
  case \${COMP_WORDS[1]} in
${commands.join("\n")}
  esac
}

complete -o filenames -o bashdefault -F _certagent certagent
`;
}

function zsh(): string {
  const values: Readonly<Record<Kind, string>> = {
    file: "_files",
    folder: "_files -/",
    spec: "_certagent_specs",
    other: "",
  };
  const optionSpec = (option: Option): string => {
    const { name, value, choices, description } = option;
    const action = choices === undefined ? values[kindOf(option)] : `(${choices.join(" ")})`;
    const argument = value === undefined ? "" : `:${value}:${action}`;
    return `      ${single(`--${name}${value === undefined ? "" : "="}[${bracketed(description)}]${argument}`)}`;
  };
  const commands = COMMANDS.map((command) => {
    const kind = operandOf(command);
    const words = wordsOf(command);
    const operands =
      kind !== "other" ? `*:${kind}:${values[kind]}` : words.length > 0 ? `1:what:(${words.join(" ")})` : "";
    const specs = [...optionsOf(command).map(optionSpec), ...(operands === "" ? [] : [`      ${single(operands)}`])];
    return `    ${command.name})\n      _arguments \\\n${specs.map((line) => `  ${line}`).join(" \\\n")}\n      ;;`;
  });
  return `#compdef certagent
${ORIGIN}

_certagent_specs() {
  local -a specs
  specs=(/etc/certagent.d/*.yaml(N:t:r))
  _describe spec specs
}

_certagent() {
  local -a commands
  commands=(
${COMMANDS.map(({ name, summary }) => `    ${single(`${name}:${summary}`)}`).join("\n")}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  shift words
  ((CURRENT--))
  case $words[1] in
${commands.join("\n")}
  esac
}

_certagent "$@"
`;
}

function fish(): string {
  const lines = COMMANDS.flatMap((command) => {
    const { name, summary } = command;
    const only = `complete -c certagent -n ${single(`__fish_seen_subcommand_from ${name}`)}`;
    const kind = operandOf(command);
    const operands = kind === "spec" ? ["(__certagent_specs)"] : wordsOf(command);
    return [
      `complete -c certagent -n __fish_use_subcommand -f -a ${name} -d ${single(summary)}`,
      ...(kind === "file" ? [`${only} -F`] : operands.map((word) => `${only} -f -a ${single(word)}`)),
      ...optionsOf(command).map(
        (option) => `${only} -l ${option.name} -d ${single(option.description)}${valueOf(option)}`,
      ),
    ];
  });
  return `# fish completion for certagent
${ORIGIN}

function __certagent_specs
    for spec in /etc/certagent.d/*.yaml
        string replace -r '.*/(.*)\\.yaml$' '$1' $spec
    end
end

complete -c certagent -f
${lines.join("\n")}
`;
}

function valueOf(option: Option): string {
  if (option.value === undefined) return "";
  if (option.choices !== undefined) return ` -x -a ${single(option.choices.join(" "))}`;
  return kindOf(option) === "other" ? " -x" : " -r -F";
}

/** A word in single quotes: nothing in it means anything to a shell. */
function single(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Inside the brackets of zsh's \`_arguments\`. */
function bracketed(words: string): string {
  return words.replaceAll(/[[\]:]/g, "\\$&");
}
