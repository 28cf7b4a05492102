import type { Log } from "../base/log.ts";
import { type Clock, type Instant, LONGEST_SLEEP, MINUTE, type Milliseconds, pause, SECOND } from "../base/time.ts";
import type { Streak } from "../core/facts.ts";
import type { Applier, Issuer } from "../core/ports.ts";
import {
  brokenSpec,
  type CertificateStatus,
  type PlannedCertificate,
  planOf,
  type RenewOutcome,
  statusOf,
  statusOfInvalid,
} from "../core/status.ts";
import type { SpecFolder, Specs } from "../spec/folder.ts";
import type { Problem } from "../spec/problem.ts";
import { readOwners } from "../store/facts.ts";
import type { Layout } from "../store/layout.ts";
import { type IssuerConfig, issuerCache } from "./issuer-cache.ts";
import { type ManagedCertificate, manage } from "./managed.ts";
import { semaphore } from "./semaphore.ts";
import type { Prove, World } from "./world.ts";

export interface AgentOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly layout: Layout;
  readonly applier: Applier;
  readonly prove: Prove;
  readonly specs: SpecFolder;
  readonly createIssuer: (name: string, config: IssuerConfig) => Issuer;
}

/** The agent's loop over all managed certificates. */
export interface Agent {
  /** Reads configuration and specs again; what is understood is in force when it resolves. */
  reread(): Promise<void>;
  /** SIGHUP: re-reads, and asks for a renewal of everything. Resolves after the re-read. */
  reload(): Promise<void>;
  /** Works until `signal` aborts; `onTick` is called after each look at every certificate's due time. */
  run(signal: AbortSignal, onTick: () => void): Promise<void>;
  /** Brings the named ones (none: all) up to date once. */
  once(names: readonly string[], signal: AbortSignal): Promise<void>;
  /** Observes all, changes nothing. */
  look(signal: AbortSignal): Promise<void>;
  /** Resolves when no work is under way. */
  settled(): Promise<void>;
  names(): readonly string[];
  status(names: readonly string[]): readonly CertificateStatus[];
  plan(names: readonly string[], signal: AbortSignal): Promise<readonly PlannedCertificate[]>;
  /** Renews now, and waits for the outcomes; `onOutcome` hears of each as it is known. */
  renew(
    names: readonly string[],
    onOutcome: (outcome: RenewOutcome) => void,
    signal: AbortSignal,
  ): Promise<readonly RenewOutcome[]>;
}

/** Issuances at one time. */
const PARALLEL_ISSUANCES = 4;
/** Watch events get lost: the folder is read again this often. */
const REREAD_EVERY = 5 * MINUTE;
/** More than that between wall and monotonic time is a stepped clock or a resumed host. */
const STEP: Milliseconds = 5 * SECOND;
/** How far behind our newest record a clock may be. */
const CLOCK_TOLERANCE = 5 * MINUTE;
/** What is left of the ten seconds that a stop may take. */
const DRAIN: Milliseconds = 8 * SECOND;

/** An agent that has read nothing yet: `reread` first. */
export function createAgent({ clock, log, layout, applier, prove, specs, createIssuer }: AgentOptions): Agent {
  const managed = new Map<string, ManagedCertificate>();
  const invalid = new Map<string, { readonly file: string; readonly failure: Streak }>();
  const busy = new Map<string, Promise<void>>();
  const waiters = new Map<string, Set<(run: number) => void>>();
  const issuers = issuerCache(createIssuer);

  /** Counts the runs of all certificates, to tell which began after a wish. */
  let runs = 0;
  let roundAt: Instant = 0;
  let rereadAt: Instant = 0;
  let lastTick: { readonly wall: Instant; readonly monotonic: Milliseconds } | undefined;
  let suspectSince: Milliseconds | undefined;
  let waker = new AbortController();
  let toldProblems: ReadonlySet<string> = new Set();
  let rereading: Promise<void> = Promise.resolve();

  const wake = (): void => waker.abort();

  const world: World = {
    clock,
    log,
    layout,
    applier,
    prove,
    issuer: issuers.get,
    issuing: semaphore(PARALLEL_ISSUANCES),
    waiting: (issuer) => [...managed.values()].filter((one) => one.isWaitingFor(issuer)).length,
    clockSuspectFor: () => (suspectSince === undefined ? null : clock.monotonic() - suspectSince),
  };

  // ------------------------------------------------------------------------------------------------------- reading

  /** Problems of the configuration and the folder as a whole, each told once. */
  const tellProblems = (problems: readonly Problem[]): void => {
    const texts = problems.map(placeAndMessage);
    for (const text of texts) if (!toldProblems.has(text)) log.warning("configuration problem", { reason: text });
    toldProblems = new Set(texts);
  };

  /** Before the first reading nothing is managed: then what is on disk tells who has deployed what. */
  const owners = async (): Promise<ReadonlyMap<string, string>> => {
    if (managed.size === 0) return readOwners(layout.agent.allFacts);
    return new Map(
      [...managed.values()].flatMap((one) => one.deployedPaths().map((path) => [path, one.name] as const)),
    );
  };

  const take = async (reading: Specs): Promise<void> => {
    tellProblems(reading.problems);
    if (issuers.configure(reading.host)) for (const one of managed.values()) one.forgive();
    for (const name of [...managed.keys(), ...invalid.keys()]) {
      if (reading.specs.has(name)) continue;
      if (managed.delete(name)) log.info("spec removed: its renewal stops, its files stay", { certificate: name });
      invalid.delete(name);
    }
    for (const [name, { file, desired, problems }] of reading.specs) {
      const known = managed.get(name);
      const before = invalid.get(name)?.failure ?? known?.view()?.broken ?? null;
      const broken = streakOf(problems, before, clock.now());
      if (broken !== null && broken !== before) {
        log.warning("spec refused", {
          certificate: name,
          reason: broken.message,
          hint: broken.hint,
          in_force: desired !== undefined,
        });
      }
      if (desired === undefined) {
        if (broken !== null) invalid.set(name, { file, failure: broken });
        managed.delete(name);
        continue;
      }
      invalid.delete(name);
      if (known === undefined) managed.set(name, await manage(world, desired, broken));
      else known.update(desired, broken);
    }
  };

  const reread = (): Promise<void> => {
    rereadAt = clock.now() + REREAD_EVERY;
    const next = rereading.then(async () => take(await specs.read({ owners: await owners() })));
    rereading = next.catch(() => undefined);
    return next.finally(wake);
  };

  // --------------------------------------------------------------------------------------------------------- working

  const start = (one: ManagedCertificate, signal: AbortSignal): Promise<void> => {
    const running = busy.get(one.name);
    if (running !== undefined) return running;
    runs += 1;
    const run = runs;
    const work = one.work(signal).finally(() => {
      busy.delete(one.name);
      for (const waiter of waiters.get(one.name) ?? []) waiter(run);
      wake();
    });
    busy.set(one.name, work);
    return work;
  };

  /** Notices that the clock stepped or the host slept: then everything is looked at again. */
  const lookAtClock = (now: Instant): boolean => {
    const monotonic = clock.monotonic();
    const drift = lastTick === undefined ? 0 : now - lastTick.wall - (monotonic - lastTick.monotonic);
    lastTick = { wall: now, monotonic };
    const newest = Math.max(0, ...[...managed.values()].map((one) => one.newestRecord()));
    const isSuspect = now < newest - CLOCK_TOLERANCE;
    if (isSuspect && suspectSince === undefined)
      log.error("the clock of this host is older than what was seen already");
    suspectSince = isSuspect ? (suspectSince ?? monotonic) : undefined;
    if (Math.abs(drift) <= STEP) return false;
    log.warning("the clock was stepped or the host was suspended, looking at everything again", {
      seconds: Math.round(drift / SECOND),
    });
    return true;
  };

  /** Starts all that is due, and answers when to look again. Never waits: what hangs hangs for itself. */
  const tick = (signal: AbortSignal): Instant => {
    const now = clock.now();
    const stepped = lookAtClock(now);
    const isRound = stepped || now >= roundAt || roundAt > now + LONGEST_SLEEP;
    if (isRound) roundAt = now + LONGEST_SLEEP;
    if (now >= rereadAt || rereadAt > now + REREAD_EVERY) {
      reread().catch((error: unknown) => log.error("cannot read configuration and specs", { reason: String(error) }));
    }
    for (const one of managed.values()) if (isRound || one.dueAt() <= now) void start(one, signal);
    const idle = [...managed.values()].filter((one) => !busy.has(one.name));
    return Math.min(roundAt, rereadAt, ...idle.map((one) => one.dueAt()));
  };

  const settled = async (): Promise<void> => {
    await rereading;
    while (busy.size > 0) await Promise.all(busy.values());
  };

  const drain = async (): Promise<void> => {
    await Promise.race([settled(), pause(DRAIN)]);
    if (busy.size > 0)
      log.warning("stopped while work was under way; the next start looks at it", { certificates: [...busy.keys()] });
  };

  // ------------------------------------------------------------------------------------------------------- answering

  const chosen = (names: readonly string[]): readonly string[] =>
    names.length > 0 ? names : [...managed.keys(), ...invalid.keys()].toSorted();

  const statusOfName = (name: string): readonly CertificateStatus[] => {
    const bad = invalid.get(name);
    if (bad !== undefined) return [statusOfInvalid(name, bad.file, bad.failure)];
    const view = managed.get(name)?.view();
    return view === undefined ? [] : [statusOf(view, clock.now())];
  };

  /** Resolves once a renewal that was asked for has been tried, or was seen to be impossible now. */
  const tried = (one: ManagedCertificate, signal: AbortSignal): Promise<void> => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = waiters.get(one.name) ?? new Set();
    waiters.set(one.name, waiting);
    const askedAt = runs;
    const waiter = (run: number): void => {
      const wish = one.view()?.observed.wish;
      if (run <= askedAt && wish != null && !wish.attempted) return;
      waiting.delete(waiter);
      resolve();
    };
    waiting.add(waiter);
    signal.addEventListener("abort", () => waiter(Number.POSITIVE_INFINITY), { once: true });
    return promise;
  };

  const renewOne = async (name: string, signal: AbortSignal): Promise<RenewOutcome> => {
    const one = managed.get(name);
    if (one === undefined) return unrenewable(name, invalid.get(name)?.failure);
    one.renew();
    const done = tried(one, signal);
    wake();
    await done;
    const [status] = statusOfName(name);
    if (status === undefined || signal.aborted) return unrenewable(name, undefined);
    const isIssued = one.view()?.observed.wish === null;
    const ok = isIssued && (status.failure === null || status.failure.code === "SERVICE_DOWN");
    return {
      name,
      ok,
      state: status.state,
      message: status.failure?.message ?? status.because,
      hint: status.failure?.hint ?? null,
    };
  };

  return {
    reread,
    reload: async () => {
      await reread();
      for (const one of managed.values()) one.renew();
      wake();
    },
    run: async (signal, onTick) => {
      while (!signal.aborted) {
        waker = new AbortController();
        const until = tick(signal);
        onTick();
        await clock.sleepUntil(until, AbortSignal.any([signal, waker.signal]));
      }
      await drain();
    },
    once: async (names, signal) => {
      const all = [...managed.values()].filter((one) => names.length === 0 || names.includes(one.name));
      for (const one of all) one.forgive();
      await Promise.all(all.map((one) => start(one, signal)));
    },
    look: async (signal) => {
      await Promise.all([...managed.values()].map((one) => one.look(signal)));
    },
    settled,
    names: () => chosen([]),
    status: (names) => chosen(names).flatMap(statusOfName),
    plan: async (names, signal) => {
      const all = [...managed.values()].filter((one) => names.length === 0 || names.includes(one.name));
      await Promise.all(all.filter((one) => !busy.has(one.name)).map((one) => one.look(signal)));
      return all.flatMap((one) => {
        const view = one.view();
        return view === undefined ? [] : [planOf(view, clock.now())];
      });
    },
    renew: (names, onOutcome, signal) =>
      Promise.all(
        names.map(async (name) => {
          const outcome = await renewOne(name, signal);
          onOutcome(outcome);
          return outcome;
        }),
      ),
  };
}

function unrenewable(name: string, failure: Streak | undefined): RenewOutcome {
  const message = failure?.message ?? "the agent was stopped before it was done";
  return {
    name,
    ok: false,
    state: failure === undefined ? "pending" : "invalid",
    message,
    hint: failure?.hint ?? null,
  };
}

function placeAndMessage({ file, line, column, message }: Problem): string {
  return line === null ? `${file}: ${message}` : `${file}:${line}:${column}: ${message}`;
}

/** What a spec's problems are told as; the same streak for as long as the problem is the same. */
function streakOf(problems: readonly Problem[], before: Streak | null, now: Instant): Streak | null {
  const [first] = problems;
  if (first === undefined) return null;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const message = `${placeAndMessage(first)}${more}`;
  return before?.message === message ? before : brokenSpec(message, first.hint, now);
}
