import { asAgentError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { LogFormat, Logger, LogLevel } from "../base/logger.ts";
import type { ExitCode, Invocation, Option, World } from "./command.ts";

/** What the commands take whose standard error is a log. */
export const LOG_OPTION: Option = {
  name: "log",
  value: "FORMAT",
  default: "auto",
  choices: ["auto", "text", "json"],
  description: "how events are told: auto is coloured text on a terminal, else lines with a priority for journald",
};

const STANDARD_ERROR = 2;

/**
 * Works with a log on standard error, which is flushed at the end. What is thrown is the log's last line, and exit code
 * 1; only `USAGE` is thrown on. A promise that nobody waited for is a defect that is told, and ends nothing; an exception
 * out of nowhere is the end, since nobody knows what it left undone.
 */
export async function withLog(
  invocation: Invocation,
  world: World,
  work: (log: Log, logger: Logger) => Promise<ExitCode>,
): Promise<ExitCode> {
  // Heavy, and the help of these commands does without.
  const { openLogger } = await import("../base/logger.ts");
  await using logger = openLogger({
    format: invocation.value("log") as LogFormat,
    level: invocation.value("log-level") as LogLevel,
    descriptor: STANDARD_ERROR,
    clock: world.clock,
    isTerminal: world.log.isTerminal,
    colour: world.log.isColoured,
  });
  const { log } = logger;
  const crash = Promise.withResolvers<never>();
  process.on("uncaughtException", (error) => crash.reject(error));
  process.on("unhandledRejection", (reason) => logDefect(log, reason));
  process.on("warning", ({ name, message }) => {
    if (name === "ExperimentalWarning") log.debug("Node warns", { reason: message });
    else log.warning("Node warns", { reason: message });
  });
  try {
    return await Promise.race([work(log, logger), crash.promise]);
  } catch (thrown) {
    const { code, message, hint } = asAgentError(thrown);
    if (code === "USAGE") throw thrown; // told to who typed it, as with every other command
    if (code === "BUG") logDefect(log, thrown);
    else log.error(message, { code, hint });
    return 1;
  }
}

function logDefect(log: Log, thrown: unknown): void {
  const stack = thrown instanceof Error ? thrown.stack : String(thrown);
  log.error("unexpected failure, which is a defect of certagent", { stack });
}
