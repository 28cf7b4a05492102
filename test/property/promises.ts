/** What must hold whatever happens, judged over a history. Each answers with what broke it, in words; empty where it holds. */
import { HOUR, type Instant, LONGEST_SLEEP, MINUTE, type Milliseconds, SECOND } from "../../src/base/time.ts";
import type { History } from "./history.ts";
import { type CaCall, retryAfterOf } from "./model-ca.ts";
import { awakeAt, type Event, type EventKind, instantOf, type Scenario, spanOf } from "./scenario.ts";
import { BEGIN } from "./simulated-time.ts";

const TWO_TICKS = 2 * LONGEST_SLEEP;
/** How long a suspect clock holds issuances, from each start of the agent on. */
function clockPatience(lifetime: Milliseconds): Milliseconds {
  return Math.min(10 * MINUTE, lifetime / 48);
}

// ---------------------------------------------------------------------------------------------------- (a), (d) current

/** A span of true time in which a certificate need not be current. */
interface Excuse {
  readonly from: Instant;
  readonly to: Instant;
}

/** No delay of the back-off is longer: min(6 h, lifetime/48) × 1.5. */
function longestDelay(lifetime: Milliseconds): Milliseconds {
  return Math.max(1.5 * Math.min(6 * HOUR, lifetime / 48), Math.min(30 * SECOND, lifetime / 120));
}

/** How long after its end an event may still be felt. */
function recovery(event: Event, { lifetime, events }: Scenario): Milliseconds {
  const soon = longestDelay(lifetime) + TWO_TICKS;
  const storm = lifetime / 6;
  switch (event.kind) {
    case "ca":
      if (event.fault === "busy") return soon + retryAfterOf({ lifetime });
      return ["wrong-names", "expired", "other-key"].includes(event.fault) ? soon + storm : soon;
    case "host":
      return soon;
    case "drift":
      return events.filter(({ kind }) => kind === "drift").length > 2 ? HOUR + TWO_TICKS : TWO_TICKS;
    case "step":
      return soon + storm + clockPatience(lifetime);
    default:
      return TWO_TICKS;
  }
}

/** When the wall clock was wrong. */
function stepsOf(scenario: Scenario): readonly Excuse[] {
  return scenario.events.flatMap((event) => {
    const from = instantOf(scenario, event);
    return event.kind === "step"
      ? [{ from: awakeAt(scenario, from), to: awakeAt(scenario, from + spanOf(scenario, event)) }]
      : [];
  });
}

function excusesOf({ scenario, deaths }: History): readonly Excuse[] {
  const excuses = scenario.events.map((event) => {
    const from = instantOf(scenario, event);
    return { from, to: awakeAt(scenario, from + spanOf(scenario, event)) + recovery(event, scenario) };
  });
  const patience = stepsOf(scenario).length > 0 ? clockPatience(scenario.lifetime) : 0;
  const killed = deaths.map(({ at }) => ({ from: at, to: at + TWO_TICKS + patience }));
  return [{ from: BEGIN, to: BEGIN + TWO_TICKS }, ...excuses, ...killed];
}

/**
 * Outside faults, and the bounded time to recover from them, every certificate is current, is truly served, and is not
 * past 2/3 of its lifetime.
 */
export function isCurrentWhileNothingIsWrong(history: History): readonly string[] {
  const excuses = excusesOf(history);
  const isExcused = (at: Instant): boolean => excuses.some(({ from, to }) => at >= from && at <= to);
  return history.samples.flatMap(({ at, statuses, served }) => {
    if (isExcused(at)) return [];
    return statuses.flatMap(({ name, state, because, failure, leaf }) => {
      const when = `${whenOf(history, at)}: ${name}`;
      if (state !== "current") return [`${when} is ${state}: ${because} (${failure?.code}, next ${failure?.retry_at})`];
      const seen = served.get(name);
      if (seen === undefined || seen.fingerprint !== leaf?.fingerprint) return [`${when} is told proven, and is not`];
      const age = (at - seen.notBefore) / (seen.notAfter - seen.notBefore);
      return age <= 2 / 3 + SECOND / history.scenario.lifetime ? [] : [`${when} is ${age} of its lifetime old`];
    });
  });
}

// ----------------------------------------------------------------------------------------------------------- (b) storm

/** Never a fourth automatic issuance that the agent saw within a sixth of the lifetime, unless the spec was edited. */
export function neverStorms(history: History): readonly string[] {
  const { lifetime, events } = history.scenario;
  // A host that sleeps hears of them when it is awake.
  const heard = (what: EventKind): readonly Instant[] =>
    events
      .filter(({ kind }) => kind === what)
      .map((event) => awakeAt(history.scenario, instantOf(history.scenario, event)));
  const [edits, wishes] = [heard("edit"), heard("sighup")];
  const steps = stepsOf(history.scenario).flatMap(({ from, to }) => [from, to]);
  return [...history.calls.values()].flatMap((calls) => {
    const seen = calls.filter((call, index) => call.leaf !== undefined && wasSeen(history, call, index));
    return seen.flatMap((call, index) => {
      const [third, ...later] = [seen[index - 3], seen[index - 2], seen[index - 1]].flatMap((each) => each ?? []);
      if (third === undefined || later.length < 2 || call.at - third.at >= lifetime / 6) return [];
      const isTouched = (instants: readonly Instant[], since: Instant): boolean =>
        instants.some((at) => at >= since && at <= call.at);
      // A clock that was set forward is past the breaker's end. Of a wish only the first try is not automatic: it comes
      // when it was made, or when the try that is under way has ended.
      const touched = isTouched([...edits, ...steps], third.at) || isTouched(wishes, third.at - MINUTE);
      return touched ? [] : [`${whenOf(history, call.at)}: ${call.subject} is issued for the fourth time in a row`];
    });
  });
}

/** Whether the agent can have counted an issuance: the answer arrived, and it did not die before anything was kept. */
function wasSeen({ deaths }: History, call: CaCall, index: number): boolean {
  if (call.fault === "answer-lost") return false;
  return !deaths.some(({ asked, point }) => point.startsWith("ca-") && asked === index + 1);
}

// -------------------------------------------------------------------------------------------------------- (c) hot loop

/**
 * The CA is asked no sooner after a failure than the back-off's formula allows, an application is repeated no sooner,
 * and looks are bounded in every hour.
 */
export function neverLoopsHot(history: History): readonly string[] {
  return [...history.crashes, ...callsTooEarly(history), ...appliesTooEarly(history), ...tooManyLooks(history)];
}

function callsTooEarly(history: History): readonly string[] {
  const { lifetime } = history.scenario;
  // While what its spec asks for cannot be had, what is in force is renewed as it is: each keeps to the back-off.
  const series = [...history.calls.values()].flatMap((calls) => [...Map.groupBy(calls, ({ names }) => names).values()]);
  return series.flatMap((calls) => {
    let attempt = 0;
    /** One of these is in force. */
    let inForce: readonly NonNullable<CaCall["leaf"]>[] = [];
    return calls.flatMap((call, index) => {
      // What the CA answers by the true time, a host whose clock is wrong may have to refuse.
      const isClockWrong = stepsOf(history.scenario).some(({ from, to }) => call.at >= from && call.at <= to);
      const isGood = call.fault === null && !isClockWrong;
      if (call.fault === null && call.leaf !== undefined) inForce = isGood ? [call.leaf] : [...inForce, call.leaf];
      const before = attempt;
      attempt = isGood ? 0 : attempt + 1;
      const next = calls[index + 1];
      if (next === undefined || isDisturbed(history, call.at, next.at)) {
        // Whether the streak went on is not known then, so the shortest delay is asked for.
        attempt = 0;
        return [];
      }
      const least = isGood
        ? lifetime / 4
        : isClockWrong
          ? floorOf(lifetime)
          : Math.min(
              ...(inForce.length === 0 ? [lifetime] : inForce.map(({ notAfter }) => notAfter - call.at)).map(
                (remaining) => leastDelay(before, lifetime, remaining),
              ),
            );
      if (next.at - call.at >= least - 1) return [];
      return [`${whenOf(history, next.at)}: asks ${next.at - call.at} ms after failure ${before}, not ${least} ms`];
    });
  });
}

/** `min(30 s·2^k, 6 h, lifetime/48, remaining/12) × 0.5`, at least `min(30 s, lifetime/120)`. */
function leastDelay(attempt: number, lifetime: Milliseconds, remaining: Milliseconds): Milliseconds {
  const hurry = remaining > 0 ? remaining / 12 : Number.POSITIVE_INFINITY;
  const delay = Math.min(30 * SECOND * 2 ** attempt, 6 * HOUR, lifetime / 48, hurry);
  return Math.max(delay / 2, floorOf(lifetime));
}

function floorOf(lifetime: Milliseconds): Milliseconds {
  return Math.min(30 * SECOND, lifetime / 120);
}

function appliesTooEarly(history: History): readonly string[] {
  const { lifetime } = history.scenario;
  return namesOf(history).flatMap((name) => {
    const { applies } = history.site(name);
    return applies.flatMap(({ at, failed }, index) => {
      const next = applies[index + 1];
      if (next === undefined || !failed || isDisturbed(history, at, next.at)) return [];
      const isEarly = next.at - at < floorOf(lifetime) - 1;
      return isEarly ? [`${whenOf(history, next.at)}: applies ${name} ${next.at - at} ms after a failure`] : [];
    });
  });
}

/** In an hour: one round each tick, and around each action, event, retry and restart a few looks more. */
function tooManyLooks(history: History): readonly string[] {
  const { lifetime, events } = history.scenario;
  const retries = HOUR / floorOf(lifetime);
  const disturbances = 8 * (events.length + history.deaths.length);
  return namesOf(history).flatMap((name) => {
    const { observes, proves, applies } = history.site(name);
    const most = HOUR / LONGEST_SLEEP + 3 * retries + disturbances;
    return [
      ...tooManyInAnHour(history, `looks at ${name}`, observes, 3 * most),
      ...tooManyInAnHour(history, `proofs of ${name}`, proves, HOUR / MINUTE + retries + disturbances),
      ...tooManyInAnHour(
        history,
        `applications of ${name}`,
        applies.map(({ at }) => at),
        retries + disturbances,
      ),
    ];
  });
}

function tooManyInAnHour(
  history: History,
  what: string,
  instants: readonly Instant[],
  most: number,
): readonly string[] {
  const limit = Math.ceil(most);
  return instants.flatMap((at, index) => {
    const first = instants[index - limit];
    return first === undefined || at - first >= HOUR
      ? []
      : [`${whenOf(history, at)}: more than ${limit} ${what} an hour`];
  });
}

/** Whether something happened that lets the agent try before its time: a restart, an edit, a wish, a clock that was set. */
function isDisturbed({ scenario, deaths }: History, from: Instant, to: Instant): boolean {
  const instants = scenario.events.flatMap((event) => {
    const at = instantOf(scenario, event);
    if (event.kind === "step") return [];
    // An event during which the host slept takes effect when it wakes.
    return ["edit", "sighup", "suspend"].includes(event.kind) ? [at, awakeAt(scenario, at)] : [];
  });
  const slept = scenario.events.some((event) => {
    const at = instantOf(scenario, event);
    return event.kind === "suspend" && at <= to && at + spanOf(scenario, event) >= from;
  });
  const killed = deaths.filter(({ point }) => point !== "at-rest").map(({ at }) => at);
  const stepped = stepsOf(scenario).flatMap((step) => [step.from, step.to]);
  return slept || [...instants, ...stepped, ...killed].some((at) => at >= from && at <= to);
}

// --------------------------------------------------------------------------------------------------------- (e) restart

/** The same facts give the same plan and the same status after a restart. */
export function plansTheSameAfterRestart({ restarts }: History): readonly string[] {
  return restarts
    .filter(({ before, after }) => before !== after)
    .map(({ before, after }) => `${before}\nbecame\n${after}`);
}

export function keepsEveryPromise(history: History): readonly string[] {
  return [
    ...isCurrentWhileNothingIsWrong(history),
    ...neverStorms(history),
    ...neverLoopsHot(history),
    ...plansTheSameAfterRestart(history),
  ].slice(0, 5);
}

// ------------------------------------------------------------------------------------------------------------- details

function namesOf({ samples }: History): readonly string[] {
  return [...new Set(samples.flatMap(({ statuses }) => statuses.map(({ name }) => name)))];
}

/** An instant as scenarios tell it. */
export function whenOf({ scenario }: Pick<History, "scenario">, at: Instant): string {
  return `at ${((at - BEGIN) / scenario.lifetime).toFixed(4)} lifetimes (${new Date(at).toISOString()})`;
}
