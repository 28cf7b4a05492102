import { resolve } from "node:path";
import { AgentError } from "../base/errors.ts";
import type { Run } from "../base/run.ts";
import type { Clock } from "../base/time.ts";
import type { Mode } from "./mode.ts";
import type { Print } from "./print.ts";
import type { Signals } from "./signals.ts";
import type { Places } from "./surroundings.ts";

/** 0 done, 1 failed, 2 used wrongly, 3 something needs attention. */
export type ExitCode = 0 | 1 | 2 | 3;

/** What `main.ts` makes of the process for the commands. */
export interface World {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly run: Run;
  readonly print: Print;
  /** The signals of this process, from its first moment on; only commands that work for long have them. */
  readonly signals: Signals;
  /** The user that this process runs as. */
  readonly uid: number;
  /** Standard error, as far as the log has to know it. */
  readonly log: { readonly isTerminal: boolean; readonly isColoured: boolean };
  /** What starts this program again: Node, its flags, the file. */
  readonly program: readonly string[];
  /** How outputs are written and services reloaded, by the value of `--apply`. */
  readonly modes: Readonly<Record<string, Mode>>;
  /** Aborts when nobody reads standard output any more. */
  readonly unread: AbortSignal;
}

/**
 * The variable that names the descriptors whose reader shows them on a terminal: the two halves of `once` are one process
 * to whoever looks.
 */
export const TERMINALS = "CERTAGENT_TERMINALS";

export interface Option {
  /** Without the dashes. */
  readonly name: string;
  /** What its value is called in the help; absent for an option that is there or not. */
  readonly value?: string;
  /** The value where it is not given. */
  readonly default?: string;
  /** The only values that it takes. */
  readonly choices?: readonly string[];
  readonly description: string;
  /** Of certagent's own processes, not for people. */
  readonly isHidden?: boolean;
}

export interface Command {
  readonly name: string;
  /** What it does, in a few words. */
  readonly summary: string;
  /** What it is given besides options, as the help says it: `[NAME…]`; "" where it takes nothing. */
  readonly operands: string;
  readonly options: readonly Option[];
  /** All that there is to know, in lines of at most 90 characters. */
  readonly description: string;
  readonly examples: readonly (readonly [command: string, purpose: string])[];
  readonly exitCodes: readonly (readonly [code: ExitCode, meaning: string])[];
  run(invocation: Invocation, world: World): Promise<ExitCode>;
}

/** What a command was called with. */
export interface Invocation {
  readonly operands: readonly string[];
  /** The value of an option, or its default. */
  value(name: string): string;
  isSet(name: string): boolean;
}

/** What every command takes. */
export const COMMON_OPTIONS: readonly Option[] = [
  {
    name: "config",
    value: "FILE",
    default: "/etc/certagent/certagent.yaml",
    description: "host configuration",
  },
  { name: "specs", value: "DIR", default: "/etc/certagent.d", description: "folder of the specs, a *.yaml each" },
  { name: "state", value: "DIR", default: "/var/lib/certagent", description: "what survives a restart: keys, facts" },
  { name: "runtime", value: "DIR", default: "/run/certagent", description: "what does not: the agent's socket" },
  {
    name: "log-level",
    value: "LEVEL",
    default: "info",
    choices: ["debug", "info", "warning", "error"],
    description: "what is told; debug shows the causes of errors",
  },
  { name: "help", description: "explain the command" },
];

/** A path from the working directory on. Throws `USAGE` where that was removed. */
export function absolute(path: string): string {
  try {
    return resolve(path);
  } catch (cause) {
    throw new AgentError("USAGE", `Cannot find "${path}": the working directory is gone`, {
      cause,
      hint: "cd to one that is there, or give the whole path",
    });
  }
}

/** Where the files are, as absolute paths. */
export function placesOf(invocation: Invocation): Places {
  const at = (name: string): string => absolute(invocation.value(name));
  return { config: at("config"), specs: at("specs"), state: at("state"), runtime: at("runtime") };
}
