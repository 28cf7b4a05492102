import { type Clock, type Instant, MINUTE, type Milliseconds } from "../base/time.ts";
import type { ApplyFacts, Asked } from "../core/applier.ts";
import { isGone } from "../core/service-needs.ts";
import type { ObservedSpec } from "../store/reports.ts";

/** Each look starts a process of the root side: facts are believed for as long as nothing says otherwise. */
export interface Beliefs {
  /** What is believed of what is asked; undefined where it has to be asked for. */
  about(asked: Asked): ApplyFacts | undefined;
  /** Until when what was seen last is believed; undefined where nothing was. */
  until(name: string): Instant | undefined;
  /**
   * Takes what was seen since an instant of the monotonic clock; false where something was changed after that: what was
   * seen may be how things stood before.
   */
  learn(observed: ObservedSpec, since: Milliseconds): boolean;
  /** What was learnt last answers this, whatever text and generation the root side saw: it was asked before that. */
  accept(asked: Asked): void;
  /** Something is changed: what was seen before is good for nothing. */
  forget(name: string): void;
}

const AT_REST: Milliseconds = 10 * MINUTE;
const UNSETTLED: Milliseconds = MINUTE;

interface Belief {
  readonly facts: ApplyFacts;
  /** Of which spec's text and generation: as the root side saw them, and as they were asked for. */
  readonly of: Set<string>;
  readonly text: string;
  readonly span: Milliseconds;
  readonly until: Milliseconds;
}

/**
 * Ten minutes where all is well; else a minute, and twice as long each time while nothing changes but where somebody waits
 * for the root side to see a service come up.
 */
export function openBeliefs(clock: Pick<Clock, "monotonic" | "now">): Beliefs {
  const known = new Map<string, Belief>();
  /** When something was changed last. */
  const changed = new Map<string, Milliseconds>();
  return {
    about: (asked) => {
      const belief = known.get(asked.name);
      if (belief === undefined || asked.afresh === true || clock.monotonic() >= belief.until) return undefined;
      return belief.of.has(keyOf(asked)) ? belief.facts : undefined;
    },
    until: (name) => {
      const belief = known.get(name);
      return belief === undefined ? undefined : clock.now() + belief.until - clock.monotonic();
    },
    learn: (observed, since) => {
      const { name } = observed;
      if ((changed.get(name) ?? since) > since) return false;
      if (!("facts" in observed)) return true;
      const { facts } = observed;
      const text = JSON.stringify(facts);
      const before = known.get(name);
      const isAsBefore = before?.text === text && !hasUnseen(facts);
      const again = isAsBefore ? Math.min(2 * before.span, AT_REST) : UNSETTLED;
      const span = isAtRest(facts) ? AT_REST : again;
      known.set(name, { facts, of: new Set([keyOf(observed)]), text, span, until: clock.monotonic() + span });
      return true;
    },
    accept: (asked) => void known.get(asked.name)?.of.add(keyOf(asked)),
    forget: (name) => {
      known.delete(name);
      changed.set(name, clock.monotonic());
    },
  };
}

function keyOf({ digest, generation }: Pick<Asked, "digest" | "generation">): string {
  return `${digest} ${generation}`;
}

/** Without a probe the root side alone sees that a service which was down runs. */
function hasUnseen({ services }: ApplyFacts): boolean {
  return services.some(({ liveness, probe }) => probe === null && isGone(liveness));
}

function isAtRest({ outputs, services, obstacle }: ApplyFacts): boolean {
  const isFine = services.every(({ liveness }) => liveness === "up" || liveness === "unknown");
  return obstacle === null && isFine && outputs.every(({ state }) => state === "current");
}
