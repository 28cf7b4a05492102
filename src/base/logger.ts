import { pino } from "pino";
import type { Fields, Log } from "./log.ts";
import { formatJsonLine, formatLine, type LineStyle, type LogRecord } from "./log-line.ts";
import { openLineWriter } from "./log-writer.ts";
import { printable, printableStyled } from "./printable.ts";
import { type Clock, formatInstant, type Milliseconds, SECOND } from "./time.ts";

export type LogLevel = "debug" | "info" | "warning" | "error";
/** `auto` is `text` on a terminal, else one line an event with its priority for journald. */
export type LogFormat = "auto" | "text" | "json";

export interface LoggerOptions {
  readonly format: LogFormat;
  readonly level: LogLevel;
  /** Where the lines go, 2 for standard error. It stays open. */
  readonly descriptor: number;
  readonly isTerminal: boolean;
  readonly colour: boolean;
  readonly clock: Pick<Clock, "now">;
}

/** A log that never blocks: with a reader that does not read, lines are dropped, and one line says how many. */
export interface Logger extends AsyncDisposable {
  readonly log: Log;
  /** Takes a line that another process of certagent's has logged: its styles stay, where there is colour. */
  passOn(line: string): void;
}

/** How long the end of the process waits for a slow reader. */
const FLUSH_LIMIT: Milliseconds = 0.5 * SECOND;
const LEVELS = { debug: 20, info: 30, warning: 40, error: 50 } as const satisfies Record<LogLevel, number>;

/** A log on a descriptor; disposing of it writes what is left, for half a second at most. */
export function openLogger({ format, level, descriptor, isTerminal, colour, clock }: LoggerOptions): Logger {
  const style = styleOf(format, isTerminal, colour);
  const toLine = (json: string): string =>
    style === "json" ? formatJsonLine(json) : formatLine(JSON.parse(json) as LogRecord, style);
  const writer = openLineWriter(descriptor, (dropped) => {
    const msg = "lines of this log were dropped, as nobody read them";
    return toLine(JSON.stringify({ level: "warning", time: formatInstant(clock.now()), msg, dropped }));
  });
  const logger = pino(
    {
      level,
      customLevels: LEVELS,
      useOnlyCustomLevels: true,
      base: null,
      formatters: { level: (label) => ({ level: label }) },
      timestamp: style === "journal" ? false : () => `,"time":"${formatInstant(clock.now())}"`,
    },
    { write: (json: string) => writer.write(toLine(json)) },
  );
  const at = (name: LogLevel) => (message: string, fields: Fields) => logger[name](fields, "%s", message);
  return {
    log: { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") },
    passOn: (line) => writer.write(style === "colour" ? printableStyled(line) : printable(line)),
    [Symbol.asyncDispose]: () => writer.close(FLUSH_LIMIT),
  };
}

function styleOf(format: LogFormat, isTerminal: boolean, colour: boolean): LineStyle | "json" {
  if (format === "json") return "json";
  if (format === "auto" && !isTerminal) return "journal";
  return isTerminal && colour ? "colour" : "text";
}
