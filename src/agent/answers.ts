/** What the agent answers who asks about its certificates. */
import type { Clock } from "../base/time.ts";
import { notRenewed, outcomeOf } from "../core/renew-outcome.ts";
import { planOf, planOfInvalid, statusOf, statusOfInvalid } from "../core/status.ts";
import type { CertificateStatus, PlannedCertificate, RenewOutcome } from "../core/status-document.ts";
import type { Roster } from "./roster.ts";
import type { Runs } from "./runs.ts";

/** Where names are asked for, none is all of them, and each is answered once, however often it is named. */
export interface Answers {
  names(): readonly string[];
  status(names: readonly string[]): readonly CertificateStatus[];
  /** Resolves once these were looked at since the start: before that their status knows nothing of files. */
  seen(names: readonly string[]): Promise<void>;
  plan(names: readonly string[], signal: AbortSignal): Promise<readonly PlannedCertificate[]>;
  /** Renews now, and waits for the outcomes; `onOutcome` hears of each as it is known. */
  renew(
    names: readonly string[],
    onOutcome: (outcome: RenewOutcome) => void,
    signal: AbortSignal,
  ): Promise<readonly RenewOutcome[]>;
}

export interface AnswersOptions {
  readonly clock: Pick<Clock, "now">;
  readonly roster: Pick<Roster, "managed" | "invalid" | "chosen">;
  readonly runs: Pick<Runs, "atWork" | "ended">;
  /** Has what is due begun now. */
  readonly wake: () => void;
  /** Whether the agent ends: what is under way may be cut off. */
  readonly isStopping: () => boolean;
}

export function openAnswers({ clock, roster, runs, wake, isStopping }: AnswersOptions): Answers {
  const names = (): readonly string[] => [...roster.managed.keys(), ...roster.invalid.keys()].toSorted();

  const asked = (wanted: readonly string[]): readonly string[] => (wanted.length > 0 ? [...new Set(wanted)] : names());

  const statusOfName = (name: string): readonly CertificateStatus[] => {
    const bad = roster.invalid.get(name);
    if (bad !== undefined) return [statusOfInvalid(name, bad.file, bad.failure)];
    const one = roster.managed.get(name);
    return one === undefined ? [] : [statusOf(one.view(), clock.now())];
  };

  const planOfName = (name: string): readonly PlannedCertificate[] => {
    const bad = roster.invalid.get(name);
    if (bad !== undefined) return [planOfInvalid(name, bad.failure)];
    const one = roster.managed.get(name);
    return one === undefined ? [] : [planOf(one.view(), clock.now())];
  };

  const renewOne = async (name: string, signal: AbortSignal): Promise<RenewOutcome> => {
    const one = roster.managed.get(name);
    if (one === undefined) return notRenewed(name, roster.invalid.get(name)?.failure);
    one.renew();
    // Tried, or seen to be impossible now.
    const tried = runs.ended(name, () => one.view().observed.wish?.attempted !== false, signal);
    wake();
    await tried;
    const [status] = statusOfName(name);
    if (signal.aborted) return notRenewed(name);
    if (status === undefined) return notRenewed(name, { message: "its spec was removed meanwhile", hint: null });
    return outcomeOf(one.view(), status, { now: clock.now(), isStopping: isStopping() });
  };

  return {
    names,
    status: (wanted) => asked(wanted).flatMap(statusOfName),
    seen: async (wanted) => void (await Promise.all(roster.chosen(wanted).map((one) => one.seen()))),
    plan: async (wanted, signal) => {
      const chosen = roster.chosen(wanted);
      await Promise.all(chosen.map((one) => (runs.atWork(one.name) ? one.seen() : one.look(signal))));
      return asked(wanted).flatMap(planOfName);
    },
    renew: (wanted, onOutcome, signal) =>
      Promise.all(
        wanted.map(async (name) => {
          const outcome = await renewOne(name, signal);
          onOutcome(outcome);
          return outcome;
        }),
      ),
  };
}
