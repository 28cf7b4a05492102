import { asAgentError } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { semaphores } from "../base/semaphore.ts";
import { type Clock, type Instant, LONGEST_SLEEP, MINUTE, type Milliseconds, pause, SECOND } from "../base/time.ts";
import type { Applier } from "../core/applier.ts";
import type { Issuer, Prove } from "../core/ports.ts";
import type { SpecFolder } from "../spec/folder.ts";
import type { Layout } from "../store/layout.ts";
import { type Answers, openAnswers } from "./answers.ts";
import { watchClock } from "./clock-watch.ts";
import { type IssuerConfig, issuerCache } from "./issuer-cache.ts";
import { type ManagedCertificate, manage } from "./managed.ts";
import { refusedTooSoon } from "./refused.ts";
import { openRoster } from "./roster.ts";
import { openRuns } from "./runs.ts";
import type { World } from "./world.ts";

export interface AgentOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly layout: Layout;
  readonly applier: Applier;
  readonly prove: Prove;
  readonly specs: SpecFolder;
  readonly createIssuer: (name: string, config: IssuerConfig) => Issuer;
  /** Only looks, maybe beside another process that is at work. */
  readonly readOnly?: boolean;
}

/** The agent's loop over all managed certificates. */
export interface Agent extends Answers {
  /** Reads configuration and specs again; what is understood is in force when it resolves. */
  reread(): Promise<void>;
  /** SIGHUP: re-reads, and asks for a renewal of everything. Resolves after the re-read. */
  reload(): Promise<void>;
  /**
   * Works until `signal` aborts; `onTick` is called after each look at every certificate's due time, and told how many
   * are at work.
   */
  run(signal: AbortSignal, onTick: (atWork: number) => void): Promise<void>;
  /** Brings the named ones (none: all) up to date once. */
  once(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Observes all, changes nothing. */
  look(signal: AbortSignal): Promise<void>;
  /** Resolves when no work is under way. */
  settled(): Promise<void>;
  /** What has to be mended of the configuration and the folder of specs as a whole, a line each. */
  problems(): readonly string[];
}

/** Issuances of one issuer at one time: a CA that does not answer holds up its own specs, no others. */
const PARALLEL_ISSUANCES = 4;
/** Watch events get lost: configuration and specs are read again this often. */
const REREAD_EVERY: Milliseconds = 5 * MINUTE;
/** What is left of the ten seconds that a stop may take. */
const DRAIN: Milliseconds = 8 * SECOND;

/** An agent that has read nothing yet: `reread` first. */
export function createAgent({ specs, createIssuer, ...site }: AgentOptions): Agent {
  const { clock, log, layout } = site;
  const issuers = issuerCache(createIssuer);
  const clockWatch = watchClock(clock, log);
  const places = semaphores(PARALLEL_ISSUANCES);
  const world: World = {
    ...site,
    issuer: issuers.get,
    issuing: async (issuer, issue, patience) =>
      (await places(issuer, () => issue().then(() => true), patience)) ?? false,
    isAwaited: (issuer) => all().some((one) => one.isWaitingFor(issuer)),
    clockSuspectFor: clockWatch.suspectFor,
  };
  const roster = openRoster({
    clock,
    log,
    layout,
    specs,
    issuers,
    manage: async (desired, broken, facts) => {
      // Of two memories of one spec the older would write over what the newer knows.
      const atWork = runs.atWork(desired.name);
      atWork?.update(desired, broken);
      return atWork ?? (await manage(world, desired, broken, facts));
    },
  });
  const all = (): readonly ManagedCertificate[] => roster.chosen([]);

  const runs = openRuns(
    (name) => roster.managed.has(name),
    (one) => {
      const isIdle = runs.names().length === 0;
      if (isIdle) for (const refused of refusedTooSoon(all(), clock.now())) refused.retry();
      if (isIdle || one.dueAt() < wakesAt) wake();
    },
  );
  /** Whether a reload still reads that asks for the renewals then. */
  let isReloading = false;
  /** When everything is looked at again, due or not: drift is repaired within a minute. */
  let roundAt: Instant = 0;
  let rereadAt: Instant = 0;
  let waker = new AbortController();
  /** When the loop looks again if nobody wakes it. */
  let wakesAt: Instant = 0;
  /** Ends the loop; undefined where it does not run. */
  let stop: AbortSignal | undefined;

  const wake = (): void => waker.abort();

  const reread = (): Promise<void> => {
    rereadAt = clock.now() + REREAD_EVERY;
    return roster.reread().finally(() => {
      issuers.forgetSecrets(world.isAwaited); // who waited for one may be gone, or want nothing more of it
      runs.releaseRemoved();
      wake();
    });
  };

  /** Starts all that is due, and answers when to look again. Never waits: what hangs hangs for itself. */
  const tick = (signal: AbortSignal): Instant => {
    const now = clock.now();
    const ones = all();
    const newest = ones.reduce((latest, one) => Math.max(latest, one.newestRecord()), 0);
    const stepped = clockWatch.notice(now, newest);
    const isRound = stepped || now >= roundAt || roundAt > now + LONGEST_SLEEP;
    if (isRound) roundAt = now + LONGEST_SLEEP;
    if (now >= rereadAt || rereadAt > now + REREAD_EVERY) {
      reread().catch((error: unknown) => {
        log.error("cannot read configuration and specs", { reason: asAgentError(error).message });
      });
    }
    for (const one of ones) if (isRound || one.dueAt() <= now) void runs.start(one, signal);
    const idle = ones.filter((one) => runs.atWork(one.name) === undefined);
    return idle.reduce((next, one) => Math.min(next, one.dueAt()), Math.min(roundAt, rereadAt));
  };

  const settled = async (): Promise<void> => {
    await roster.settled();
    await runs.settled();
  };

  const drain = async (): Promise<void> => {
    await Promise.race([settled(), pause(DRAIN)]);
    const certificates = runs.names();
    if (certificates.length === 0) return;
    log.warning("stopped while work was under way; the next start looks at it", { certificates });
  };

  return {
    reread,
    reload: async () => {
      // What is being renewed at this instant is joined, although it may be done once the reading is.
      const joined = new Set(all().filter((one) => one.isRenewing()));
      const isJoined = isReloading;
      isReloading = true;
      await reread().finally(() => {
        isReloading &&= isJoined;
      });
      // One that came before and still reads asks for the renewals after this one came.
      if (isJoined) return;
      for (const one of all()) if (!joined.has(one)) one.renew();
      wake();
    },
    run: async (signal, onTick) => {
      stop = signal;
      while (!signal.aborted) {
        waker = new AbortController();
        wakesAt = tick(signal);
        onTick(runs.names().length);
        await clock.sleepUntil(wakesAt, AbortSignal.any([signal, waker.signal]));
      }
      await drain();
    },
    once: async (wanted, signal) => {
      for (const one of roster.chosen(wanted)) one.hurry();
      await Promise.all(roster.chosen(wanted).map((one) => runs.start(one, signal)));
      // Those that were refused for what others had not written yet.
      const again = roster.chosen(wanted).filter((one) => one.dueAt() === 0);
      await Promise.all(again.map((one) => runs.start(one, signal)));
    },
    look: async (signal) => {
      await Promise.all(all().map((one) => one.look(signal)));
    },
    settled,
    problems: roster.problems,
    ...openAnswers({ clock, roster, runs, wake, isStopping: () => stop?.aborted === true }),
  };
}
