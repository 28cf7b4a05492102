/** What the kernel tells of a process (proc(5)). */
import { readdirSync, readFileSync } from "node:fs";
import { type Milliseconds, pause, SECOND, systemClock } from "../../src/base/time.ts";

/** In kB, as the kernel counts them. */
export interface Memory {
  /** All pages, those shared with other processes too: the 40 MB of Node's own program file among them. */
  readonly rss: number;
  /** Shared pages in proportion: what many processes cost together. */
  readonly pss: number;
  /** What nobody else has and no file can give back: what a process really costs. */
  readonly dirty: number;
}

export function memoryOf(pid: number): Memory {
  const text = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  const kB = (name: string): number => Number(new RegExp(`^${name}: +(\\d+) kB$`, "m").exec(text)?.[1]);
  return { rss: kB("Rss"), pss: kB("Pss"), dirty: kB("Private_Dirty") };
}

/** The processor time that a process has used, its children's not counted. Linux counts in hundredths of a second. */
export function cpuOf(pid: number): Milliseconds {
  const [user, system] = timesOf(readFileSync(`/proc/${pid}/stat`, "utf8"));
  return user + system;
}

/** Processor time of the children that a process has waited for, from the text of its `stat`. */
export function cpuOfChildren(stat: string): Milliseconds {
  const [, , user, system] = timesOf(stat);
  return user + system;
}

/** utime, stime, cutime, cstime: the fields 14 to 17, counted from behind the name, which may hold blanks. */
function timesOf(stat: string): readonly [number, number, number, number] {
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const [user = 0, system = 0, childrenUser = 0, childrenSystem = 0] = fields.slice(11, 15).map((ticks) => +ticks * 10);
  return [user, system, childrenUser, childrenSystem];
}

export interface Rest {
  /** Times a minute that the process began to do something after it had done nothing for a moment. */
  readonly wakeUps: number;
  /** Times a minute that its main thread went to sleep: one burst of work is many, each file call being another. */
  readonly sleeps: number;
}

/** Shorter pauses are one burst of work, and computing is no pause. */
const MOMENT: Milliseconds = 50;

/** Looks at an idle process for a while. */
export async function restOf(pid: number, span: Milliseconds): Promise<Rest> {
  const [began, before] = [systemClock.monotonic(), sleepsOf(pid)];
  let wakeUps = 0;
  let last = runTimeOf(pid);
  let wasBusy = true;
  while (systemClock.monotonic() < began + span) {
    await pause(MOMENT);
    const now = runTimeOf(pid);
    const isBusy = now !== last;
    if (isBusy && !wasBusy) wakeUps += 1;
    [last, wasBusy] = [now, isBusy];
  }
  const minutes = (systemClock.monotonic() - began) / (60 * SECOND);
  return { wakeUps: wakeUps / minutes, sleeps: (sleepsOf(pid) - before) / minutes };
}

/** How often the main thread has gone to sleep by itself. */
function sleepsOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  return Number(/^voluntary_ctxt_switches:\s+(\d+)$/m.exec(text)?.[1]);
}

/** How long all threads have run, in nanoseconds. */
function runTimeOf(pid: number): number {
  const threads = readdirSync(`/proc/${pid}/task`);
  const times = threads.map((thread) => readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8"));
  return times.reduce((sum, text) => sum + Number(text.slice(0, text.indexOf(" "))), 0);
}
