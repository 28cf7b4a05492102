/**
 * The only code that writes for people. Its rules:
 *
 * - Results go to standard output. Everything else goes to standard error, each line with `certagent: ` before it.
 * - An error is one line, then a `hint: ` line for each thing to do. Causes and stacks only with `--log-level debug`.
 * - Times are relative for people ("in 3 h 12 min") and RFC 3339 in UTC in `--json`, of which fields are added, never
 *   renamed or dropped.
 * - Colour is for terminals without NO_COLOR (no-color.org), and never the only carrier of a meaning.
 * - Words of others (a CA, a file name, a service) are escaped: only this file writes an escape sequence.
 * - A reader that goes away (`| head`) ends the output, quietly.
 */
import { asAgentError } from "../base/errors.ts";
import { printable, printableJson, printableStyled } from "../base/printable.ts";

/** Where output goes. */
export interface Channel {
  /** Never throws; writes nothing once nobody reads any more. */
  write(text: string): void;
  readonly isTerminal: boolean;
  readonly isColoured: boolean;
  /** Of a terminal, as it is now; undefined for all else. */
  size(): { readonly columns: number; readonly rows: number } | undefined;
}

const STYLES = { bold: "1", dim: "2", red: "31", green: "32", yellow: "33" } as const;

/** A piece of a line: plain, or in a style. */
export type Text = string | { readonly text: string; readonly style: keyof typeof STYLES };

export interface Print {
  readonly isTerminal: boolean;
  /** One line of the result. */
  line(...pieces: readonly Text[]): void;
  /** Lines of the result in columns that are as wide as what stands in them. */
  table(rows: readonly (readonly Text[])[]): void;
  /** The result for scripts: one document, in several lines. */
  json(document: unknown): void;
  /** A line of the result that another process of certagent's has made: its styles stay, where there is colour. */
  passOn(line: string): void;
  /** A document in one line, for output that is a stream of them. */
  jsonLine(document: unknown): void;
  /** What goes to standard output while `draw` runs replaces what the screen shows. Terminals only. */
  redraw(draw: (print: Print) => void): void;
  /**
   * A last line that whatever comes next takes the place of; without pieces it goes away. Only on terminals with colour:
   * everything that matters is told by the other lines.
   */
  progress(...pieces: readonly Text[]): void;
  /** What is no result: progress, warnings, what has to be known about the result. */
  note(message: string, hint?: string | null): void;
  /** What was thrown, for people. */
  error(thrown: unknown): void;
}

const PREFIX = "certagent: ";

/** Prints to two channels. With `showCauses` errors tell what they came from. */
export function createPrint(out: Channel, err: Channel, { showCauses = false } = {}): Print {
  let hasProgress = false;
  const wipe = (): void => {
    if (hasProgress) out.write("\r\x1b[K");
    hasProgress = false;
  };
  const say = (text: string): void => {
    wipe();
    for (const line of text.split("\n")) err.write(`${PREFIX}${printable(line)}\n`);
  };
  const note = (message: string, hint?: string | null): void => {
    say(message);
    for (const line of hint?.split("\n") ?? []) say(`hint: ${line}`);
  };
  return {
    ...printTo({
      ...out,
      write: (text) => {
        wipe();
        out.write(text);
      },
    }),
    progress: (...pieces) => {
      if (!out.isTerminal || !out.isColoured) return;
      if (pieces.length === 0) {
        wipe();
        return;
      }
      // A line that is as wide as the terminal would move the cursor to the next.
      out.write(`\r${render(pieces, out, (out.size()?.columns ?? 80) - 1)}\x1b[K`);
      hasProgress = true;
    },
    redraw: (draw) => {
      const size = out.size() ?? { columns: 80, rows: 24 };
      const lines: string[] = [];
      const page: Channel = { ...out, write: (text) => void lines.push(text), size: () => size };
      draw({ ...createPrint(page, err), ...printTo(page, size.columns) });
      const shown = lines.slice(0, size.rows - 1).map((line) => line.replace(/\n$/, "\x1b[K\n"));
      out.write(`\x1b[H${shown.join("")}\x1b[J`);
    },
    note,
    error: (thrown) => {
      const error = asAgentError(thrown);
      note(error.message, error.hint);
      if (showCauses) for (const line of causes(error)) say(`cause: ${line}`);
    },
  };
}

function printTo(
  channel: Channel,
  columns = Number.POSITIVE_INFINITY,
): Pick<Print, "isTerminal" | "line" | "passOn" | "table" | "json" | "jsonLine"> {
  const line = (...pieces: readonly Text[]): void => {
    channel.write(`${render(pieces, channel, columns).trimEnd()}\n`);
  };
  return {
    isTerminal: channel.isTerminal,
    line,
    passOn: (text) => channel.write(`${channel.isColoured ? printableStyled(text) : printable(text)}\n`),
    table: (rows) => {
      const widths = widthsOf(rows);
      for (const row of rows) line(...row.flatMap((cell, index) => [cell, gap(cell, widths[index] ?? 0)]));
    },
    json: (document) => {
      const lines = JSON.stringify(document, null, 2).split("\n");
      channel.write(`${lines.map(printableJson).join("\n")}\n`);
    },
    jsonLine: (document) => channel.write(`${printableJson(JSON.stringify(document))}\n`),
  };
}

/** Pieces one after the other, cut to so many columns. */
function render(pieces: readonly Text[], { isColoured }: Pick<Channel, "isColoured">, columns: number): string {
  let room = columns;
  const shown = pieces.map((piece) => {
    const text = printable(textOf(piece)).slice(0, room);
    room -= text.length;
    return typeof piece === "string" || !isColoured ? text : `\x1b[${STYLES[piece.style]}m${text}\x1b[0m`;
  });
  return shown.join("");
}

function textOf(piece: Text): string {
  return typeof piece === "string" ? piece : piece.text;
}

function widthsOf(rows: readonly (readonly Text[])[]): readonly number[] {
  const most = (widthIn: (row: readonly Text[]) => number): number =>
    rows.reduce((width, row) => Math.max(width, widthIn(row)), 0);
  return Array.from({ length: most((row) => row.length) }, (_, index) => most((row) => widthOf(row[index] ?? "")));
}

function widthOf(cell: Text): number {
  return printable(textOf(cell)).length;
}

function gap(cell: Text, width: number): string {
  return " ".repeat(width - widthOf(cell) + 2);
}

/** The errors behind an error, each with its stack: for reports of defects. */
function* causes(error: Error): Generator<string> {
  for (let { cause } = error; cause instanceof Error; { cause } = cause)
    yield* (cause.stack ?? cause.message).split("\n");
}
