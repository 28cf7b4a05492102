import { isDeepStrictEqual } from "node:util";
import { type Instant, LONGEST_SLEEP, type Milliseconds, pause, SECOND } from "../base/time.ts";
import { type Facts, factsOfSpec, NO_FACTS, type Streak, withoutDelay } from "../core/facts.ts";
import { reasonToIssue } from "../core/issuing.ts";
import type { Desired } from "../core/ports.ts";
import type { Managed } from "../core/status.ts";
import { fail, observedOf, recall, textOf, viewOf } from "./memory.ts";
import { observe } from "./observe.ts";
import { comeToRest, forgetWhatIsOver } from "./work.ts";
import type { World } from "./world.ts";

/** One spec together with what exists of it on this host: observes, plans, takes one step, and asks again. */
export interface ManagedCertificate {
  readonly name: string;
  /** Takes another version of the spec; `broken` tells why the newest text is not in force. */
  update(desired: Desired, broken: Streak | null): void;
  /** The spec is in force no more: what is under way is finished, and nothing is begun until it is updated. */
  retire(): void;
  /** Asks for a renewal now. One that is asked for already is joined. */
  renew(): void;
  /** Whether a renewal that was asked for waits for its first try, or is under way until it is deployed and looked at. */
  isRenewing(): boolean;
  /** Something outside changed that may have mended what failed: forgets all back-off. */
  forgive(): void;
  /** Every step may be tried now, whatever failed before; what has failed is not forgotten. */
  hurry(): void;
  /** What a service refused is tried again now. */
  retry(): void;
  /** The spec was not there and is now: forgets back-off and repairs, and looks afresh. Its files may have gone with it. */
  startOver(): void;
  /** Observes only, whatever was believed. Rejects where `signal` aborts, not for what is wrong with this one certificate. */
  look(signal: AbortSignal): Promise<void>;
  /** Observes, plans and acts until there is nothing to do now. Never rejects. */
  work(signal: AbortSignal): Promise<void>;
  /** Resolves once it was looked at for the first time, or that takes longer than people should wait. */
  seen(): Promise<void>;
  /** What status is told from. */
  view(): Managed;
  /** When to work again at the latest. */
  dueAt(): Instant;
  /** The newest instant that is on record: a clock older than that is suspect. */
  newestRecord(): Instant;
  /** Whether it wants something of this issuer, which a secret may be needed for. */
  isWaitingFor(issuer: string): boolean;
  /** The paths that it has deployed. */
  deployedPaths(): readonly string[];
  /** When it was last begun to deploy it; 0 where it was not yet. */
  triedAt(): Instant;
  /** When it has last written files; 0 where it has not yet. */
  wroteAt(): Instant;
}

/** How long a status waits for the first look at a certificate: a root side that is started takes seconds on a busy host. */
const FIRST_LOOK: Milliseconds = 10 * SECOND;

/** Opens a managed certificate; its facts are read from the state folder where they were not read before. */
export async function manage(
  world: World,
  desired: Desired,
  broken: Streak | null,
  known?: Facts,
): Promise<ManagedCertificate> {
  const memory = await recall(world, desired, broken, known);
  const managedSince = world.clock.monotonic();
  let dueAt: Instant = 0;
  /** What was asked for, or with what, is another thing now. */
  const startAnew = (): void => {
    memory.edits += 1;
    memory.lookAfresh = true;
    dueAt = 0;
  };
  const forgive = (): void => {
    memory.facts = { ...memory.facts, failures: NO_FACTS.failures };
    startAnew();
  };

  return {
    name: desired.name,
    work: async (signal) => {
      dueAt = world.clock.now() + LONGEST_SLEEP;
      // An update or a wish that comes meanwhile sets it to now again.
      const until = await comeToRest(memory, signal);
      memory.joinable = false;
      dueAt = Math.min(dueAt, until ?? dueAt);
    },
    look: async (signal) => {
      memory.lookAfresh = true;
      try {
        await observe(memory, signal);
        forgetWhatIsOver(memory);
      } catch (error) {
        signal.throwIfAborted();
        if (memory.facts.failures.apply === null) fail(memory, "apply", error);
      }
    },
    retire: () => {
      memory.isRetired = true;
    },
    update: (version, why) => {
      memory.isRetired = false;
      memory.broken = why;
      // The text may be the same, and the default issuer another one.
      if (!isDeepStrictEqual(textOf(version), textOf(memory.desired))) {
        memory.facts = factsOfSpec(memory.facts, textOf(version));
        memory.adoptionRefused = false;
        startAnew();
      }
      memory.desired = version;
    },
    renew: () => {
      if (memory.joinable) return;
      memory.wish ??= { since: world.clock.now(), attempted: false };
      if (!memory.issuing) memory.wish = { ...memory.wish, attempted: false };
      // Who asks may just have cleared the way.
      memory.lookAfresh ||= memory.apply.obstacle !== null;
      dueAt = 0;
    },
    isRenewing: () => memory.joinable || (memory.wish !== null && (memory.issuing || !memory.wish.attempted)),
    forgive,
    hurry: () => {
      const now = world.clock.now();
      for (const step of ["issue", "apply", "prove"] as const) memory.facts = withoutDelay(memory.facts, step, now);
      memory.lookAfresh = true;
      dueAt = 0;
    },
    retry: () => {
      const now = world.clock.now();
      for (const step of ["apply", "prove"] as const) memory.facts = withoutDelay(memory.facts, step, now);
      dueAt = 0;
    },
    startOver: () => {
      memory.facts = { ...memory.facts, repairs: [] };
      forgive();
    },
    seen: async () => {
      const left = managedSince + FIRST_LOOK - world.clock.monotonic();
      if (left > 0) await Promise.race([memory.seen.promise, pause(left)]);
    },
    view: () => viewOf(memory),
    dueAt: () => dueAt,
    newestRecord: () => Math.max(memory.facts.writtenAt, memory.newest?.issuedAt ?? 0),
    isWaitingFor: (issuer) =>
      memory.desired.request.issuer === issuer &&
      reasonToIssue(memory.desired, observedOf(memory), world.clock.now()) !== undefined,
    deployedPaths: () => memory.facts.deployed,
    triedAt: () => memory.triedAt,
    wroteAt: () => memory.wroteAt,
  };
}
