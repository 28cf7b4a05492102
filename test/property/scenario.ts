import fc from "fast-check";
import { DAY, HOUR, type Instant, MINUTE, type Milliseconds, SECOND } from "../../src/base/time.ts";
import { BEGIN } from "./simulated-time.ts";

export type CaFault = "down" | "rejects" | "busy" | "answer-lost" | "wrong-names" | "expired" | "other-key";
export type HostFault = "apply-fails" | "reload-fails" | "service-down" | "keeps-old";
/** Where the agent is killed: at rest, or so many turns of the event loop after this call began or ended. */
export type KillPoint = "at-rest" | "ca-asked" | "ca-answered" | "applying" | "applied" | "proving";

/** What happens, when. Times are in lifetimes of the certificate since the beginning. */
export type Event = { readonly at: number } & (
  | { readonly kind: "ca"; readonly fault: CaFault; readonly lasts: number }
  | { readonly kind: "host"; readonly fault: HostFault; readonly lasts: number }
  | { readonly kind: "drift" }
  | { readonly kind: "kill"; readonly point: KillPoint; readonly turns: number }
  /** The wall clock is set, and set right again after a while. */
  | { readonly kind: "step"; readonly by: Milliseconds; readonly lasts: number }
  | { readonly kind: "suspend"; readonly lasts: number }
  | { readonly kind: "edit"; readonly what: "comment" | "names" }
  | { readonly kind: "sighup"; readonly times: number; readonly turns: number }
);

export type EventKind = Event["kind"];

export interface Scenario {
  readonly lifetime: Milliseconds;
  readonly rotate: boolean;
  /** How long it is looked at, in lifetimes. */
  readonly lasts: number;
  readonly events: readonly Event[];
}

export const LIFETIMES: readonly Milliseconds[] = [5 * MINUTE, HOUR, DAY, 7 * DAY, 90 * DAY];

const at = fc.integer({ min: 0, max: 400 }).map((n) => n / 100);
const lasts = fc.oneof(
  { weight: 3, arbitrary: fc.integer({ min: 1, max: 40 }).map((n) => n / 100) },
  // Longer than the certificate lives.
  { weight: 1, arbitrary: fc.integer({ min: 100, max: 200 }).map((n) => n / 100) },
);
const turnCount = fc.integer({ min: 0, max: 40 });

const EVENTS: { readonly [kind in EventKind]: fc.Arbitrary<Event> } = {
  ca: fc.record({
    at,
    kind: fc.constant("ca"),
    fault: fc.constantFrom<CaFault>("down", "rejects", "busy", "answer-lost", "wrong-names", "expired", "other-key"),
    lasts,
  }),
  host: fc.record({
    at,
    kind: fc.constant("host"),
    fault: fc.constantFrom<HostFault>("apply-fails", "reload-fails", "service-down", "keeps-old"),
    lasts,
  }),
  drift: fc.record({ at, kind: fc.constant("drift") }),
  kill: fc.record({
    at,
    kind: fc.constant("kill"),
    point: fc.constantFrom<KillPoint>("at-rest", "ca-asked", "ca-answered", "applying", "applied", "proving"),
    turns: turnCount,
  }),
  step: fc.record({
    at,
    kind: fc.constant("step"),
    by: fc
      .constantFrom(30 * SECOND, 4 * MINUTE, HOUR, DAY, 30 * DAY, 3 * 365 * DAY)
      .chain((span) => fc.constantFrom(span, -span)),
    lasts,
  }),
  suspend: fc.record({ at, kind: fc.constant("suspend"), lasts }),
  edit: fc.record({ at, kind: fc.constant("edit"), what: fc.constantFrom("comment", "names") }),
  sighup: fc.record({
    at,
    kind: fc.constant("sighup"),
    times: fc.integer({ min: 1, max: 4 }),
    turns: fc.integer({ min: 0, max: 25 }),
  }),
};

/** Scenarios of events of these kinds, in four lifetimes, with time to recover after them. */
export function scenarios(kinds: readonly EventKind[], maxLength = 7): fc.Arbitrary<Scenario> {
  return fc
    .record({
      lifetime: fc.constantFrom(...LIFETIMES),
      rotate: fc.boolean(),
      lasts: fc.constant(7),
      events: fc.array(fc.oneof(...kinds.map((kind) => EVENTS[kind])), { minLength: 1, maxLength }),
    })
    .map((scenario) => readable({ ...scenario, events: scenario.events.toSorted((a, b) => a.at - b.at) }));
}

/** The same scenario, which fast-check prints as people would tell it. */
export function readable(scenario: Scenario): Scenario {
  return Object.defineProperty(scenario, fc.toStringMethod, { value: () => describe(scenario), enumerable: false });
}

function describe({ lifetime, rotate, lasts: end, events }: Scenario): string {
  const lines = events.map((event) => `  at ${event.at} lifetimes: ${describeEvent(event)}`);
  const head = `certificates of ${lifetime / MINUTE} minutes${rotate ? ", keys rotated" : ""}, for ${end} lifetimes:`;
  return [head, ...lines].join("\n");
}

function describeEvent(event: Event): string {
  switch (event.kind) {
    case "ca":
      return `CA ${event.fault} for ${event.lasts} lifetimes`;
    case "host":
      return `host ${event.fault} for ${event.lasts} lifetimes`;
    case "drift":
      return "somebody changes a file";
    case "kill":
      return `agent killed ${event.point}, ${event.turns} turns later`;
    case "step":
      return `clock set by ${event.by / SECOND} s for ${event.lasts} lifetimes`;
    case "suspend":
      return `host suspended for ${event.lasts} lifetimes`;
    case "edit":
      return `spec edited: ${event.what}`;
    case "sighup":
      return `${event.times} SIGHUPs, ${event.turns} turns apart`;
  }
}

/** When an event happens, true time. */
export function instantOf({ lifetime }: Pick<Scenario, "lifetime">, event: Pick<Event, "at">): Instant {
  return BEGIN + Math.round(event.at * lifetime);
}

/** How long an event lasts. A service is looked at every minute while it is down: half a day of that is enough. */
export function spanOf({ lifetime }: Pick<Scenario, "lifetime">, event: Event): Milliseconds {
  if (!("lasts" in event)) return 0;
  const span = Math.round(event.lasts * lifetime);
  return event.kind === "host" && event.fault === "service-down" ? Math.min(span, 12 * HOUR) : span;
}

/** An event at its own instant. */
export type Happening = Event & { readonly due: Instant };

/** What happens in order; a clock that is set wrong is also set right again. */
export function happeningsOf(scenario: Scenario): Happening[] {
  return scenario.events
    .flatMap((event): Happening[] => {
      const happening = { ...event, due: instantOf(scenario, event) };
      if (event.kind !== "step") return [happening];
      return [happening, { ...event, by: -event.by, due: happening.due + spanOf(scenario, event) }];
    })
    .toSorted((a, b) => a.due - b.due);
}

/** When something that is due at an instant takes effect: a host that sleeps has it when it wakes. */
export function awakeAt(scenario: Scenario, instant: Instant): Instant {
  let effect = instant;
  let woke: Instant = 0;
  for (const event of scenario.events.filter(({ kind }) => kind === "suspend")) {
    const sleeps = Math.max(instantOf(scenario, event), woke);
    woke = sleeps + spanOf(scenario, event);
    if (effect >= sleeps && effect < woke) effect = woke;
  }
  return effect;
}

/** The faults of the CA that are on at an instant of true time, the oldest first. */
export function caFaultsAt(scenario: Scenario, truth: Instant): readonly CaFault[] {
  return scenario.events.flatMap((event) => (event.kind === "ca" && isOn(scenario, event, truth) ? [event.fault] : []));
}

/** The faults of the host that are on at an instant of true time. */
export function hostFaultsAt(scenario: Scenario, truth: Instant): readonly HostFault[] {
  return scenario.events.flatMap((event) =>
    event.kind === "host" && isOn(scenario, event, truth) ? [event.fault] : [],
  );
}

function isOn(scenario: Scenario, event: Event, truth: Instant): boolean {
  const from = instantOf(scenario, event);
  return truth >= from && truth < from + spanOf(scenario, event);
}
