/** The kinds of value that specs and host configuration have in common, with what they complain about. */
import { posix } from "node:path";
import * as z from "zod";
import { DURATION_PATTERN, formatDuration, parseDuration, WITH_UNITS } from "../base/duration.ts";
import { DAY, type Milliseconds, SECOND } from "../base/time.ts";
import { expects, listOf, quoted, show, textOf, withHint } from "./describe.ts";

const LONGEST: Milliseconds = 100 * 365 * DAY;

/** A span of time with its units: `24h`, `1h30m`, `7d`; from a second to a hundred years. */
export const duration = z
  .string({ error: expects("a duration with its unit", (input) => durationHint(textOf(input))) })
  .meta({ pattern: DURATION_PATTERN })
  .transform((text, context): Milliseconds => {
    const span = parseDuration(text);
    if (span !== undefined && span >= SECOND && span <= LONGEST) return span;
    const hasUnits = WITH_UNITS.test(text);
    const message = hasUnits ? "must be between 1s and 100 years" : "must be a duration with its unit";
    context.addIssue(withHint(`${message}, not ${show(text)}`, hasUnits ? undefined : durationHint(text)));
    return z.NEVER;
  });

function durationHint(text: string): string {
  const units = "units are w, d, h, m and s";
  return /^\d+(\.\d+)?$/.test(text) && Number(text) > 0
    ? `write "${text}s", "${text}m", "${text}h" or "${text}d"`
    : units;
}

/** A duration as operators write it: `8h`. */
export function writeDuration(span: Milliseconds): string {
  return formatDuration(span).replaceAll(" min", "m").replaceAll(" ", "");
}

/** A file that certagent writes: absolute, normal, and not where the kernel keeps what only looks like files. */
export const writablePath = z
  .string()
  .meta({ pattern: "^(?!/(proc|sys|dev)/)(/(?!\\.{1,2}(/|$))[^/]+)+$" })
  .transform((path, context): string => {
    const complaint = complaintAboutPath(path);
    if (complaint === undefined) return path;
    context.addIssue(complaint);
    return z.NEVER;
  });

function complaintAboutPath(path: string): string | undefined {
  if (!path.startsWith("/")) return withHint(`must be an absolute path, not ${show(path)}`, "begin it with /");
  if (path.endsWith("/")) return withHint(`must be a file, not ${show(path)}`, "leave the last / out, or add the name");
  const normal = posix.normalize(path);
  if (path !== normal) return withHint("must be a path without . and .. and double /", `write ${show(normal)}`);
  const kernels = /^\/(proc|sys|dev)(\/|$)/.exec(path)?.[1];
  if (kernels !== undefined) return `cannot be in /${kernels}: nothing that stands there is a file on disk`;
  if (Buffer.byteLength(path) > 4095) return "must have at most 4095 bytes";
  const long = path.split("/").find((part) => Buffer.byteLength(part) > 255);
  return long === undefined ? undefined : "must have at most 255 bytes between two slashes";
}

/** A command: program by its absolute path, then arguments, as they stand, never through a shell. */
export const argv = z
  .array(z.string({ error: expects("a string", quoted) }), {
    error: expects("a list of program and arguments", argvHint),
  })
  .min(1, "must not be empty")
  .refine(([program]) => program === undefined || program.startsWith("/"), {
    error: "must be the absolute path of a program",
    path: [0],
  })
  .meta({ examples: [["/usr/local/bin/notify", "renewed"]] });

function argvHint(input: unknown): string {
  const words =
    typeof input === "string" && !/["'$`|;&<>\\]/.test(input) ? input.trim().split(/\s+/) : ["/path/to/program"];
  return `write ${listOf(words)}; there is no shell`;
}
