import { printable, printableJson } from "./printable.ts";

/** What pino hands over for one event: its own three keys, and the event's fields in the order they were given. */
export interface LogRecord {
  readonly level: string;
  readonly time?: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/**
 * How events are written: `journal` is a `<N>` priority (sd-daemon(3)), message and pairs; `text` has the time and the
 * level instead, `colour` the same for a terminal.
 */
export type LineStyle = "journal" | "text" | "colour";

/** What is said of one thing; a CA's error page is not a log entry. In UTF-16 code units. */
const LONGEST_VALUE = 1024;
/** Far below journald's LineMax=48K, beyond which it starts a new entry at any character, even at a planted `<3>`. */
const LONGEST_LINE = 8192;

const PRIORITY: Readonly<Record<string, string>> = { debug: "<7>", info: "<6>", warning: "<4>", error: "<3>" };
const COLOUR: Readonly<Record<string, string>> = { debug: "2", info: "32", warning: "33", error: "31" };
/** What needs no quotes: nothing that ends a pair, starts one, or is not ASCII. */
const BARE = /^[\w.:/@%+*-]+$/;

/** One event as one line without its line feed. */
export function formatLine(record: LogRecord, style: LineStyle): string {
  const { level, time, msg, ...fields } = record;
  const body = [printable(cut(msg, LONGEST_VALUE)), ...pairs(fields, style)].join(" ");
  return `${head(level, time, style)}${cut(body, LONGEST_LINE)}`;
}

/** A line of JSON, made harmless; a line that is too long is replaced by its message, since cut JSON is no JSON. */
export function formatJsonLine(line: string): string {
  const safe = printableJson(line.trimEnd());
  if (safe.length <= LONGEST_LINE * 2) return safe;
  const { level, time, msg } = JSON.parse(line) as LogRecord;
  return printableJson(JSON.stringify({ level, time, msg: cut(msg, LONGEST_VALUE), cut: true }));
}

function head(level: string, time: string | undefined, style: LineStyle): string {
  if (style === "journal") return PRIORITY[level] ?? "<6>";
  const word = level.padEnd(7);
  if (time === undefined) return `${word} `;
  return style === "text" ? `${time} ${word} ` : `\x1b[2m${time}\x1b[0m \x1b[${COLOUR[level]}m${word}\x1b[0m `;
}

function pairs(fields: Readonly<Record<string, unknown>>, style: LineStyle): string[] {
  return Object.entries(fields).map(([key, value]) => {
    return style === "colour" ? `\x1b[2m${key}=\x1b[0m${formatValue(value)}` : `${key}=${formatValue(value)}`;
  });
}

function formatValue(value: unknown): string {
  if (Array.isArray(value)) return formatList(value);
  const text = cut(String(value), LONGEST_VALUE);
  return BARE.test(text) ? text : quoted(text);
}

/** Whole entries only: one that is cut within its quotes would turn what follows inside out. */
function formatList(values: readonly unknown[]): string {
  const shown: string[] = [];
  let room = LONGEST_VALUE;
  for (const text of values.map(formatValue)) {
    room -= text.length + 1;
    if (room < 0 && shown.length > 0) return `${shown.join(",")},…`;
    shown.push(text);
  }
  return shown.length === 0 ? '""' : shown.join(",");
}

/** Backslashes are doubled first, so that an escape that was in the text cannot be taken for one of ours. */
function quoted(text: string): string {
  return `"${printable(text.replaceAll("\\", "\\\\").replaceAll('"', '\\"'))}"`;
}

function cut(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit)}… (${text.length - limit} more)`;
}
