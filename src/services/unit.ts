/** What systemd says of a unit, and how it is told to reload or restart it. */
import { existsSync } from "node:fs";
import { listening } from "../base/connect.ts";
import { AgentError } from "../base/errors.ts";
import { type Milliseconds, pause, SECOND } from "../base/time.ts";
import { addressText } from "../core/address.ts";
import type { Address, Liveness, ReloadContext, Service, System } from "../core/ports.ts";
import { isGone } from "../core/service-needs.ts";
import { execute } from "./execute.ts";

/** How long systemd may take to answer a question. */
const QUESTION: Milliseconds = 10 * SECOND;
const SETTLE_STEP: Milliseconds = 250;
const LONGEST_STEP: Milliseconds = 2 * SECOND;

/** Whether systemd is this host's init, as sd_booted(3) tells. */
export function systemdRuns(): boolean {
  return existsSync("/run/systemd/system");
}

/** A unit as people name it: `nginx`, not `nginx.service`. */
export function shortName(unit: string): string {
  return unit.replace(/\.service$/, "");
}

/** Whether the unit runs; `unknown` where there is no systemd. */
export async function unitLiveness(system: System, unit: string, signal: AbortSignal): Promise<Liveness> {
  return systemdRuns() ? (await unitState(system, unit, signal)).liveness : "unknown";
}

export interface UnitState {
  readonly liveness: Liveness;
  /** For people: `failed (failed)`, `inactive (dead)`. */
  readonly text: string;
  /** Whether it is just being started, stopped or restarted, by whomever. */
  readonly isChanging: boolean;
}

/** Asks systemd once; what it does not tell is `unknown`. */
export async function unitState({ ask }: Pick<System, "ask">, unit: string, signal: AbortSignal): Promise<UnitState> {
  const argv = ["systemctl", "show", "-p", "LoadState,ActiveState,SubState,MainPID", "--", unit];
  const { exitCode, output } = await ask(argv, { timeout: QUESTION, signal });
  const fact = (name: string): string | undefined => new RegExp(`^${name}=(.*)$`, "m").exec(output)?.[1];
  const active = fact("ActiveState");
  const sub = fact("SubState") ?? "unknown";
  const text = `${active ?? "unknown"} (${sub})`;
  // What waits for its automatic restart has died.
  const isChanging = (active === "activating" || active === "deactivating") && !sub.startsWith("auto-restart");
  if (exitCode !== 0 || active === undefined) return { liveness: "unknown", text, isChanging };
  // A oneshot that stays "active (exited)", such as Debian's postgresql.service, only stands for units that do the work.
  if (text === "active (exited)" && fact("MainPID") === "0") return { liveness: "unknown", text, isChanging };
  if (active === "active" || active === "reloading" || active === "refreshing") {
    return { liveness: "up", text, isChanging };
  }
  return { liveness: fact("LoadState") === "not-found" ? "absent" : "down", text, isChanging };
}

/** {@link Service.unfit} of a unit; `action`: what certagent would do with it, null where nothing. */
export async function unfitUnit(
  { ask }: Pick<System, "ask">,
  unit: string,
  action: "reload" | "restart" | null,
  signal: AbortSignal,
): Promise<AgentError | undefined> {
  const argv = ["systemctl", "show", "-p", "LoadState,CanReload", "--", unit];
  const { output } = await ask(argv, { timeout: QUESTION, signal }).catch(() => ({ output: "" })); // no systemd
  const what = `${action ?? "look at"} ${shortName(unit)}`;
  if (/^LoadState=not-found$/m.test(output)) {
    return new AgentError("SERVICE_DOWN", `Cannot ${what}: there is no ${unit} on this host`, {
      hint: "its files are written all the same; it may come with a package",
    });
  }
  if (action !== "reload" || !/^LoadState=loaded$/m.test(output) || !/^CanReload=no$/m.test(output)) return undefined;
  return new AgentError("RELOAD_FAILED", `Cannot ${what}: ${unit} has no ExecReload=`, {
    hint: "give reload: a command, or write type: systemd with action: restart where a restart may be afforded",
  });
}

/** Throws where a unit cannot be reloaded, so that nothing is put in place for it in vain. */
export async function requireFit(unfit: Service["unfit"], system: System, signal: AbortSignal): Promise<void> {
  const error = systemdRuns() ? await unfit?.(system, signal) : undefined;
  if (error?.code === "RELOAD_FAILED") throw error;
}

export interface UnitStart {
  /** The program; empty where the unit does not tell. */
  readonly path: string;
  /** Its arguments, as far as they have no spaces. */
  readonly words: readonly string[];
  /** Of the unit's own environment, as far as that has no spaces, and no EnvironmentFile= may say something else. */
  variable(name: string): string | undefined;
}

/** What a unit starts. */
export async function startedBy({ ask }: Pick<System, "ask">, unit: string, signal: AbortSignal): Promise<UnitStart> {
  const argv = ["systemctl", "show", "-p", "ExecStart,Environment,EnvironmentFiles", "--", unit];
  const { output } = await ask(argv, { timeout: QUESTION, signal });
  const [, path = "", started = ""] = /^ExecStart=\{ path=(.*?) ; argv\[\]=(.*?) ; ignore_errors=/m.exec(output) ?? [];
  const isWhole = !/^EnvironmentFiles=./m.test(output);
  const variables = isWhole ? (/^Environment=(.*)$/m.exec(output)?.[1]?.split(" ") ?? []) : [];
  return {
    path,
    words: started.split(" ").slice(1),
    variable: (name) => variables.find((one) => one.startsWith(`${name}=`))?.slice(name.length + 1),
  };
}

export interface UnitChange {
  readonly unit: string;
  readonly action: "reload" | "restart";
  readonly timeout: Milliseconds;
  /** How long the unit is watched afterwards: a daemon may die seconds after a reload that ended well. */
  readonly settle: Milliseconds;
  /** Where it listens: once restarted, it may die of its files for as long as it does not listen there again. */
  readonly place?: Address | undefined;
}

/**
 * Reloads or restarts a unit. Throws `RELOAD_FAILED` where systemd does not run (`instead` is then the hint), where the
 * job fails, and where the unit is down afterwards; `SERVICE_DOWN` where it is down before.
 */
export async function changeUnit(
  system: System,
  change: UnitChange & { readonly instead: string },
  context: Pick<ReloadContext, "revive">,
  signal: AbortSignal,
): Promise<undefined> {
  if (!systemdRuns()) {
    const message = `Cannot ${change.action} ${shortName(change.unit)}: systemd does not run on this host`;
    throw new AgentError("RELOAD_FAILED", message, { hint: change.instead });
  }
  await actOnUnit(system, change, context, signal);
  return undefined;
}

/** {@link changeUnit} on a host that has systemd. */
export async function actOnUnit(
  system: System,
  { unit, action, timeout, settle, place }: UnitChange,
  { revive }: Pick<ReloadContext, "revive">,
  signal: AbortSignal,
): Promise<void> {
  const before = await settledState(system, unit, timeout, signal);
  const isDown = before.liveness === "down";
  if (isDown && revive !== true) throw stoppedByOthers(unit, action, before);
  // Who still starts after all that time has read the files of before that: a start would only join in.
  const verb = isDown ? (before.isChanging ? "restart" : "start") : action;
  const listens = async (): Promise<boolean> =>
    place !== undefined &&
    (await listening(system.connect, { to: place, name: addressText(place), timeout: QUESTION }, signal)) === "up";
  const wasListening = action === "restart" && (await listens());
  // systemd counts the starts of all, and refuses one too many when it has stopped the unit already.
  if (verb !== "reload") await system.ask(["systemctl", "reset-failed", "--", unit], { timeout: QUESTION, signal });
  const hint = `systemctl status ${unit} and journalctl -u ${unit} show why`;
  try {
    await execute(
      system,
      ["systemctl", verb, "--", unit],
      { action: `${verb} ${shortName(unit)}`, timeout, hint, explain: (output) => explainJob(output) },
      signal,
    );
  } catch (error) {
    if (!(error instanceof AgentError) || !REPLACED.test(error.message)) throw error;
    const after = await settledState(system, unit, timeout, signal);
    // Who waits for an automatic restart was stopped by nobody.
    if (after.text.includes("auto-restart")) throw error;
    if (after.liveness === "down") throw stoppedByOthers(unit, action, after);
  }
  const isBack = wasListening ? listens : async () => true;
  await staysUp(system, unit, { verb, settle, patience: timeout, isBack }, signal);
}

/** What systemctl says where somebody else's stop or start came in between. */
const REPLACED = /: Job for \S+ canceled\.| is not active, cannot reload\./;

/** What an operator has stopped stays stopped. */
function stoppedByOthers(unit: string, action: string, { text }: UnitState): AgentError {
  return new AgentError("SERVICE_DOWN", `Cannot ${action} ${shortName(unit)}: it is ${text}`);
}

/** How a unit is once nobody starts or stops it any more, or `patience` is over. */
async function settledState(
  system: System,
  unit: string,
  patience: Milliseconds,
  signal: AbortSignal,
): Promise<UnitState> {
  const end = system.clock.monotonic() + patience;
  for (;;) {
    const state = await unitState(system, unit, signal);
    if (!state.isChanging || signal.aborted || system.clock.monotonic() >= end) return state;
    await pause(SETTLE_STEP, signal);
  }
}

/** A hint for the answers of systemctl that have one remedy. */
function explainJob(output: string): string | undefined {
  if (!output.includes("is not applicable")) return undefined;
  return "this unit has no ExecReload=; write action: restart where a restart may be afforded";
}

interface Staying extends Pick<UnitChange, "settle"> {
  readonly verb: string;
  /** How long it may take to be up again where somebody else restarts it at the same time. */
  readonly patience: Milliseconds;
  /** Whether it does again what it did before; that is waited for as long. */
  readonly isBack: () => Promise<boolean>;
}

/** SIGHUP ends what does not handle it, and systemd calls that a clean exit: only the unit's state tells. */
async function staysUp(
  system: System,
  unit: string,
  { verb, settle, patience, isBack }: Staying,
  signal: AbortSignal,
): Promise<void> {
  const start = system.clock.monotonic();
  let wait = SETTLE_STEP;
  while (!signal.aborted) {
    const { liveness, text } = await settledState(system, unit, patience, signal);
    if (isGone(liveness)) {
      throw new AgentError(
        "RELOAD_FAILED",
        `Cannot ${verb} ${shortName(unit)}: the ${verb} ended well, and then the unit was ${text}`,
        {
          hint: `journalctl -u ${unit} shows why; a service that reads its files at every handshake needs type: none`,
        },
      );
    }
    const since = system.clock.monotonic() - start;
    if (since >= settle) {
      if (since >= patience || (await isBack())) return;
      wait = Math.min(wait * 1.5, LONGEST_STEP); // each look may cost a transient unit
    }
    await pause(wait, signal);
  }
}
