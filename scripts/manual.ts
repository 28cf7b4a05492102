/** The manual pages, in the man macros of roff (man(7)), from the table of commands and the schemas. */
import type { Command, Option } from "../src/cli/command.ts";
import { COMMON_OPTIONS } from "../src/cli/command.ts";
import { COMMANDS } from "../src/cli/commands.ts";
import { EXIT_CODES, FILES, SECRET_LINE } from "../src/cli/help.ts";
import type { SchemaName } from "../src/spec/schema.ts";
import { reference, type Section } from "./reference.ts";

const FOLDER = "packaging/man";

/** Path from the top of the repository → text. */
export function manualPages(): readonly (readonly [path: string, text: string])[] {
  return [
    [`${FOLDER}/certagent.1`, commandPage()],
    [`${FOLDER}/certagent.yaml.5`, filePage("host")],
    [`${FOLDER}/certagent-spec.5`, filePage("spec")],
  ];
}

function commandPage(): string {
  return page("certagent", 1, "keeps the certificates of this host valid, in place and served", [
    section("SYNOPSIS", "\\fBcertagent\\fR \\fICOMMAND\\fR [\\fIOPTION\\fR...]"),
    section(
      "DESCRIPTION",
      text(`For each spec in /etc/certagent.d certagent mints a certificate from an internal CA, renews it over mTLS with the
one before, writes it to the files that the spec names, and proves that the service serves it.`),
      ".PP",
      text(`As a service it is two processes: certagent.service has the network and no rights, certagent-apply.service has
no network, writes the files and has services reloaded. They speak through files in /run/certagent.`),
    ),
    section("COMMANDS", ...COMMANDS.flatMap(commandPart)),
    section("OPTIONS OF EVERY COMMAND", ...COMMON_OPTIONS.flatMap(optionPart)),
    section("EXIT STATUS", ...EXIT_CODES.flatMap(([code, meaning]) => tagged(bold(code), text(meaning)))),
    section("FILES", ...FILES.flatMap(([path, what]) => tagged(italic(path), text(what)))),
    section(
      "SECRETS",
      text(`The secret of a provisioner is needed for first certificates alone. Encrypted by systemd-creds it lies on the disk
so that only this host can read it, and certagent.service finds it under the name provisioner-password:`),
      ...example(SECRET_LINE),
      text("It can be removed when all certificates are issued, and is gone from the service after its next start."),
    ),
    section("SEE ALSO", seeAlso(["certagent.yaml(5)", "certagent-spec(5)", "systemd-creds(1)", "journalctl(1)"])),
  ]);
}

function commandPart({ name, operands, summary, description, options, examples }: Command): string[] {
  return [
    `.SS ${quoted(`certagent ${name}${operands === "" ? "" : ` ${operands}`}`)}`,
    text(`${capitalized(summary)}.`),
    ".PP",
    text(description),
    ...options.flatMap(optionPart),
    ...examples.flatMap(([line, purpose]) => [".PP", text(`${capitalized(purpose)}:`), ...example(line)]),
  ];
}

function capitalized(words: string): string {
  return `${words[0]?.toUpperCase()}${words.slice(1)}`;
}

function optionPart({ name, value, choices, description, default: byDefault, isHidden }: Option): string[] {
  if (isHidden) return [];
  const values = choices === undefined ? "" : `; ${choices.join(", ")}`;
  const unlessTold = byDefault === undefined ? "" : ` (default ${byDefault})`;
  const word = value === undefined ? "" : ` ${italic(value)}`;
  return tagged(`${bold(`--${name}`)}${word}`, text(`${capitalized(description)}${values}${unlessTold}.`));
}

const ABOUT_FILES: Readonly<Record<SchemaName, readonly [name: string, what: string, path: string, about: string]>> = {
  host: [
    "certagent.yaml",
    "host configuration of certagent",
    "/etc/certagent/certagent.yaml",
    "One file a host: the CAs, and what is the same for all specs. No secret stands in it.",
  ],
  spec: [
    "certagent-spec",
    "specs of certagent, one certificate each",
    "/etc/certagent.d/NAME.yaml",
    `One file a certificate; its name is the file's name without .yaml. In every text \${fqdn} and \${hostname} are this host's
names; on one that is still called localhost they are refused. Durations have units (30s, 24h, 7d), modes are quoted strings.`,
  ],
};

function filePage(schema: SchemaName): string {
  const [name, what, path, about] = ABOUT_FILES[schema];
  return page(name, 5, what, [
    section("SYNOPSIS", italic(path)),
    section("DESCRIPTION", text(about)),
    ...reference(schema).map(keys),
    section(
      "EXAMPLES",
      text("Annotated samples are in /usr/share/doc/certagent/examples. Whether a file is right says"),
      ...example("certagent check"),
    ),
    section("SEE ALSO", seeAlso(["certagent(1)", schema === "host" ? "certagent-spec(5)" : "certagent.yaml(5)"])),
  ]);
}

function keys({ title, about, rows }: Section): string {
  const entries = rows.flatMap(({ key, shape, notes }) => {
    const shown = `${inline(shape)}.${notes === "" ? "" : ` ${inline(notes)}`}`;
    return tagged(bold(key), shown);
  });
  return section(title === "" ? "KEYS" : plain(title), ...(about === "" ? [] : [inline(about)]), ...entries);
}

function page(name: string, number: 1 | 5, what: string, parts: readonly string[]): string {
  const head = [
    '.\\" Made by "node scripts/docs.ts" from the table of commands and the schemas: change those, not this.',
    `.TH ${quoted(name.toUpperCase())} ${number} "" certagent`,
    ".nh",
    ".ad l",
    section("NAME", `${escaped(name)} \\- ${escaped(what)}`),
  ];
  return `${[...head, ...parts].join("\n")}\n`;
}

function section(title: string, ...lines: readonly string[]): string {
  return [`.SH ${quoted(title)}`, ...lines].join("\n");
}

function tagged(tag: string, body: string): string[] {
  return [".TP", tag, body];
}

function example(line: string): string[] {
  return [".PP", ".RS 4", ".EX", escaped(line), ".EE", ".RE"];
}

function seeAlso(pages: readonly string[]): string {
  return pages
    .map((one) => one.replace(/^(.+)(\(\d\))$/, (_all, name: string, at: string) => bold(name) + at))
    .join(", ");
}

/** Prose. Paragraphs of its source end with a blank line, other lines are filled. */
function text(words: string): string {
  return escaped(words.trim()).replaceAll(/\n\n+/g, "\n.PP\n");
}

/** Inline Markdown: code, emphasis, links. */
function inline(words: string): string {
  return escaped(words.replaceAll(/\[([^\]]+)\]\([^)]+\)/g, "$1"))
    .replaceAll(/`([^`]+)`/g, "\\fB$1\\fR")
    .replaceAll(/\*\*([^*]+)\*\*/g, "\\fI$1\\fR");
}

function plain(words: string): string {
  return words.replaceAll("`", "");
}

function bold(words: string): string {
  return `\\fB${escaped(words)}\\fR`;
}

function italic(words: string): string {
  return `\\fI${escaped(words)}\\fR`;
}

function quoted(words: string): string {
  return `"${escaped(words).replaceAll('"', '""')}"`;
}

/** A backslash, a dash that is no hyphen, and what would begin a request at the start of a line. */
function escaped(words: string): string {
  return words
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("…", "...")
    .replaceAll("→", "\\(->")
    .replaceAll("–", "\\(en")
    .replaceAll(/^([.'])/gm, "\\&$1");
}
