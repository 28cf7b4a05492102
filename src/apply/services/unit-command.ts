/** What systemd is told of a command that runs in a unit of its own, and what it tells of how that ended. Pure. */
import { constants } from "node:os";
import { printable, shortened } from "../../base/printable.ts";
import { ENVIRONMENT, GRACE, type RunResult } from "../../base/run.ts";
import { type Milliseconds, SECOND } from "../../base/time.ts";

export const UNIT_PREFIX = "certagent-run-";
/** `systemctl show` of these is read by {@link readEnding}. */
export const ENDING_PROPERTIES = "Result,ExecMainCode,ExecMainStatus,ActiveState,ControlGroup";

const LONGEST_LABEL = 200;
const LONGEST_DESCRIPTION = 200;

/** What systemd gives to the units that it starts, and a child of certagent has not. */
const OF_UNITS = [
  "INVOCATION_ID",
  "JOURNAL_STREAM",
  "SYSTEMD_EXEC_PID",
  "MEMORY_PRESSURE_WATCH",
  "MEMORY_PRESSURE_WRITE",
  "DEBUG_INVOCATION",
  "HOME",
  "USER",
  "LOGNAME",
  "SHELL",
];

/**
 * A runaway command must not take the host with it, and a daemon that a command leaves behind (a new haproxy) lives
 * under the same limits, so they are wide. A flood is cut as the journal does it for any service (journald.conf(5));
 * without that it would push out what all others have written.
 */
const LIMITS = [
  "MemoryMax=50%",
  "OOMPolicy=kill",
  "TasksMax=2048",
  "LogRateLimitIntervalSec=30",
  "LogRateLimitBurst=10000",
];

export interface UnitCommand {
  readonly unit: string;
  readonly argv: readonly string[];
  readonly label: string;
  readonly timeout: Milliseconds;
  readonly env: Readonly<Record<string, string>>;
  /** Names of variables that the manager gives to every unit. */
  readonly inherited: readonly string[];
  /** Where its output goes; null is the journal. */
  readonly outputPath: string | null;
}

/** The name of a command's unit. `unique` makes it one: its lines in the journal are found by it. */
export function unitName(label: string, unique: string): string {
  return `${UNIT_PREFIX}${label.slice(0, LONGEST_LABEL)}-${unique}.service`;
}

/**
 * The systemd-run that runs a command as a child of certagent would run: its words as they stand, a fixed environment,
 * the root folder, no input. The unit stays after it, so that systemd can be asked how it ended. Neither --wait nor
 * --pipe, which need a dbus-daemon: a oneshot has started when it has ended.
 */
export function systemdRun({ unit, argv, label, timeout, env, inherited, outputPath }: UnitCommand): string[] {
  const own = { ...ENVIRONMENT, ...env };
  const unset = [...new Set([...OF_UNITS, ...inherited])].filter((name) => !(name in own));
  const properties = [
    "RemainAfterExit=yes",
    `TimeoutStartSec=${seconds(timeout)}`,
    `TimeoutStopSec=${seconds(GRACE)}`,
    "KillMode=control-group",
    "IgnoreSIGPIPE=no",
    "WorkingDirectory=/",
    // Says nothing, but keeps systemd-run from looking for the program itself: certagent's sandbox hides /home from it.
    "RootDirectory=",
    ...LIMITS,
    // To a question 1 is an answer ("hostname -f" where there is no domain), and no error in the journal.
    ...(outputPath === null ? [] : [`StandardOutput=append:${outputPath}`, "SuccessExitStatus=1"]),
    `UnsetEnvironment=${unset.join(" ")}`,
  ];
  return [
    "systemd-run",
    "--quiet",
    "--no-ask-password",
    "--service-type=oneshot",
    `--unit=${unit}`,
    `--description=${shortened(printable(`certagent for ${label}: ${argv.join(" ")}`), LONGEST_DESCRIPTION)}`,
    ...properties.map((property) => `--property=${property}`),
    ...Object.entries(own).map(([name, value]) => `--setenv=${name}=${value}`),
    "--",
    // systemd replaces variables in the words that it is given; nothing else of them means anything to it.
    ...argv.map((word) => word.replaceAll("$", "$$$$")),
  ];
}

export interface UnitEnding extends Omit<RunResult, "output"> {
  /** The unit's cgroup, as systemd names it; "" where there is none. */
  readonly cgroup: string;
  readonly isFailed: boolean;
}

/** What `systemctl show` tells; undefined where the unit never began. */
export function readEnding(shown: string): UnitEnding | undefined {
  const fact = (name: string): string => new RegExp(`^${name}=(.*)$`, "m").exec(shown)?.[1] ?? "";
  const [code, status, result] = [fact("ExecMainCode"), Number(fact("ExecMainStatus")), fact("Result")];
  if (!["1", "2", "3"].includes(code)) return undefined;
  const isExit = code === "1"; // CLD_EXITED of waitid(2); 2 and 3 are signals
  return {
    exitCode: isExit ? status : null,
    signal: isExit ? null : signalName(status),
    timedOut: result === "timeout",
    outOfMemory: result === "oom-kill",
    cgroup: fact("ControlGroup"),
    isFailed: fact("ActiveState") === "failed",
  };
}

/** Whether what `systemctl show` tells is of a unit that has begun, or will, and has not ended. */
export function isUnderWay(shown: string): boolean {
  return /^ActiveState=(?:activating|deactivating)$/m.test(shown);
}

/** Whether this may be one of systemd's own exit codes (systemd.exec(5)): the program was never reached. */
export function mayBeSystemds({ exitCode }: UnitEnding): boolean {
  return exitCode !== null && exitCode >= 200 && exitCode <= 243;
}

/** The names in what `systemctl show-environment` prints, a line each with its value quoted. */
export function variableNames(shown: string): readonly string[] {
  return [...shown.matchAll(/^([A-Za-z_]\w*)=/gm)].map(([, name = ""]) => name);
}

function signalName(number: number): string {
  return Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? `signal ${number}`;
}

function seconds(span: Milliseconds): number {
  return Math.max(1, Math.ceil(span / SECOND));
}
