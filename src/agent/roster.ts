import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { type Clock, type Instant, LONGEST_SLEEP, pause } from "../base/time.ts";
import type { Facts, Streak } from "../core/facts.ts";
import type { Desired } from "../core/ports.ts";
import { brokenSpec } from "../core/status.ts";
import type { SpecFolder, Specs } from "../spec/folder.ts";
import { formatProblem, type Problem } from "../spec/problem.ts";
import { ownersIn, readFactsOf } from "../store/facts.ts";
import type { Layout } from "../store/layout.ts";
import type { IssuerCache } from "./issuer-cache.ts";
import type { ManagedCertificate } from "./managed.ts";

/** A spec of which no version was ever understood. */
export interface InvalidSpec {
  readonly file: string;
  readonly failure: Streak;
}

/** All specs of the host, as they were read last. */
export interface Roster {
  readonly managed: ReadonlyMap<string, ManagedCertificate>;
  readonly invalid: ReadonlyMap<string, InvalidSpec>;
  /** Those of `managed` that are named; all where none is. */
  chosen(names: readonly string[]): readonly ManagedCertificate[];
  /** What has to be mended of the configuration and the folder as a whole, a line each. */
  problems(): readonly string[];
  /** Reads configuration and specs again; what is understood is in force when it resolves. One reads at a time. */
  reread(): Promise<void>;
  /** Resolves when no reading is under way. */
  settled(): Promise<void>;
}

export interface RosterOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly layout: Layout;
  readonly specs: SpecFolder;
  readonly issuers: IssuerCache;
  /** Whoever is still at work for a spec of this name, that was removed meanwhile, may be who manages it again. */
  readonly manage: (desired: Desired, broken: Streak | null, facts: Facts | undefined) => Promise<ManagedCertificate>;
}

/** A reading takes milliseconds, unless a file system hangs. */
const HANGS = "configuration and specs cannot be read: that has not ended within half a minute";

export function openRoster({ clock, log, layout, specs, issuers, manage }: RosterOptions): Roster {
  const managed = new Map<string, ManagedCertificate>();
  const invalid = new Map<string, InvalidSpec>();
  let told: ReadonlySet<string> = new Set();
  let toMend: readonly string[] = [];
  let isFirst = true;
  let last: Promise<void> = Promise.resolve();

  const owners = (): ReadonlyMap<string, string> =>
    new Map([...managed.values()].flatMap((one) => one.deployedPaths().map((path) => [path, one.name] as const)));

  /** Before the first reading nothing is managed: then what is on disk tells who has deployed what. */
  const read = async (): Promise<void> => {
    if (managed.size > 0) return await take(await specs.read({ owners: async () => owners() }), new Map());
    let facts: ReadonlyMap<string, Facts> = new Map();
    const ownersOf = async (names: readonly string[]): Promise<ReadonlyMap<string, string>> => {
      facts = await readFactsOf(names, layout.agent.facts);
      return ownersIn(facts);
    };
    await take(await specs.read({ owners: ownersOf }), facts);
  };

  /** Problems of the configuration and the folder as a whole, each told once. */
  const tell = (problems: readonly Problem[]): void => {
    const hints = new Map(problems.map((problem) => [formatProblem(problem), problem.hint]));
    for (const [reason, hint] of hints) {
      if (!told.has(reason)) log.warning("configuration problem", { reason, hint: hint ?? undefined });
    }
    for (const reason of told) if (!hints.has(reason)) log.info("configuration problem is over", { reason });
    told = new Set(hints.keys());
  };

  const forgetRemoved = (present: Specs["specs"]): void => {
    for (const name of [...managed.keys(), ...invalid.keys()]) {
      if (present.has(name)) continue;
      managed.get(name)?.retire();
      if (managed.delete(name)) log.info("spec removed: its renewal stops, its files stay", { certificate: name });
      invalid.delete(name);
    }
  };

  const take = async (
    { host, specs: entries, problems, isSound }: Specs,
    facts: ReadonlyMap<string, Facts>,
  ): Promise<void> => {
    tell(problems);
    toMend = isSound ? [] : [...told];
    if (issuers.configure(host)) for (const one of managed.values()) one.forgive();
    forgetRemoved(entries);
    for (const [name, { file, desired, problems: own }] of entries) {
      const known = managed.get(name);
      const before = invalid.get(name)?.failure ?? known?.view().broken ?? null;
      const broken = streakOf(own, before, clock.now());
      if (broken !== null && broken !== before) {
        const inForce = desired === undefined ? "nothing" : "the last good version";
        log.warning("spec refused", {
          certificate: name,
          reason: broken.message,
          hint: broken.hint ?? undefined,
          in_force: inForce,
        });
      }
      if (broken === null && before !== null) log.info("spec accepted", { certificate: name });
      if (desired === undefined) {
        if (broken !== null) invalid.set(name, { file, failure: broken });
        known?.retire();
        managed.delete(name);
        continue;
      }
      invalid.delete(name);
      const one = known ?? (await manage(desired, broken, facts.get(name)));
      if (known === undefined) managed.set(name, one);
      else known.update(desired, broken);
      // One that comes now may have been there before, and what is known of then says nothing about now.
      if (known === undefined && !isFirst) one.startOver();
    }
    isFirst = false;
  };

  /** Told beside what is known to be wrong already: what is edited meanwhile is not in force. */
  const tellSlow = async (over: AbortSignal): Promise<void> => {
    await pause(LONGEST_SLEEP, over);
    if (over.aborted) return;
    log.warning("configuration problem", { reason: HANGS, hint: "the file system of one of them may hang: findmnt" });
    told = new Set([...told, HANGS]);
    toMend = [...toMend, HANGS];
  };

  const readWatched = async (): Promise<void> => {
    const over = new AbortController();
    void tellSlow(over.signal);
    await read().finally(() => over.abort());
  };

  // One that has not begun yet answers all who ask meanwhile: a storm of signals is two readings.
  const readOnce = oneForAll(readWatched);

  return {
    managed,
    invalid,
    chosen: (names) => {
      const all = [...managed.values()];
      return names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
    },
    problems: () => toMend,
    reread: () => {
      const reading = readOnce();
      last = reading.catch(() => undefined);
      return reading;
    },
    settled: () => last,
  };
}

/** What a spec's problems are told as; the same streak for as long as the problem is the same. */
function streakOf(problems: readonly Problem[], before: Streak | null, now: Instant): Streak | null {
  const [first] = problems;
  if (first === undefined) return null;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  const message = `${formatProblem(first)}${more}`;
  return before?.message === message ? before : brokenSpec(message, first.hint, now);
}
