import { asAgentError, errorOf, failureOf } from "../base/errors.ts";
import { type Instant, LONGEST_SLEEP, MINUTE } from "../base/time.ts";
import {
  factsOfSpec,
  type Proof,
  type Step,
  type Streak,
  withFailure,
  withIssuance,
  withoutFailure,
  withRepairs,
} from "../core/facts.ts";
import {
  isProof,
  lifetimeInForce,
  type Observed,
  type ObservedGeneration,
  type Plan,
  plan,
  validityOf,
  type Wish,
} from "../core/plan.ts";
import type { ApplyFacts, Desired } from "../core/ports.ts";
import { retryAt } from "../core/retry.ts";
import type { Managed } from "../core/status.ts";
import { readFacts, writeFacts } from "../store/facts.ts";
import { openGenerations } from "../store/generations.ts";
import { issue } from "./issue.ts";
import { logDeployed, logFailure, logIssued, logVerdict } from "./journal.ts";
import { type GenerationCache, generationCache } from "./observed-generation.ts";
import { proveService } from "./prove.ts";
import type { World } from "./world.ts";

/** One spec together with what exists of it on this host: observes, plans, takes one step, and asks again. */
export interface ManagedCertificate {
  readonly name: string;
  /** Takes another version of the spec; `broken` tells why the newest text is not in force. */
  update(desired: Desired, broken: Streak | null): void;
  /** Asks for a renewal now. One that is asked for already is joined. */
  renew(): void;
  /** What changed outside (the host configuration) may have mended what failed: forgets the back-off of issuing. */
  forgive(): void;
  /** Observes only. */
  look(signal: AbortSignal): Promise<void>;
  /** Observes, plans and acts until there is nothing to do now. Never rejects. */
  work(signal: AbortSignal): Promise<void>;
  /** What status is told from; undefined before the first look. */
  view(): Managed | undefined;
  /** When to work again at the latest. */
  dueAt(): Instant;
  /** The newest instant that is on record: a clock older than that is suspect. */
  newestRecord(): Instant;
  /** Whether nothing was issued for it yet. */
  isWaiting(): boolean;
  /** The paths that it has deployed. */
  deployedPaths(): readonly string[];
}

/** More turns than any certificate needs to come to rest: adopt, issue, apply, prove, and each once more. */
const TURNS = 8;
/** A service that is down is looked at at least this often: it costs nothing, and it may be up again. */
const LONGEST_BLINDNESS = MINUTE;

/** Opens a managed certificate; its facts are read from the state folder. */
export async function manage(world: World, first: Desired, firstBroken: Streak | null): Promise<ManagedCertificate> {
  const { clock, log, applier, layout } = world;
  const { name } = first;
  const generations = openGenerations(layout.agent.generations(name));
  const cache: GenerationCache = generationCache(generations);

  let desired = first;
  let broken = firstBroken;
  let facts = factsOfSpec(await readFacts(layout.agent.facts(name)), first.digest);
  let saved = facts;
  let apply: ApplyFacts | undefined;
  let newest: ObservedGeneration | null = null;
  let deployed: ObservedGeneration | null = null;
  let servedUntil: Instant | null = null;
  let wish: Wish | null = null;
  let adoptionRefused = false;
  let issuing = false;
  let justReloaded = false;
  let dueAt: Instant = 0;

  const observed = (): Observed | undefined =>
    apply && {
      generation: newest,
      apply,
      facts,
      wish,
      servedUntil,
      clockSuspectFor: world.clockSuspectFor(),
      adoptionRefused,
      credentialChanged: false,
    };

  const save = async (): Promise<void> => {
    if (facts === saved) return;
    facts = { ...facts, writtenAt: clock.now() };
    saved = facts;
    // In memory they are right either way; a disk that is full is told of once a deployment needs it.
    await writeFacts(layout.agent.facts(name), facts).catch((error) =>
      log.warning("cannot keep state", { certificate: name, message: asAgentError(error).message }),
    );
  };

  /** Adds to a step's streak, and tells the journal what failed and when it is tried again. */
  const fail = (step: Step, thrown: unknown): void => {
    const error = asAgentError(thrown);
    const now = clock.now();
    const lifetime = lifetimeInForce(desired, newest);
    const remaining = newest === null ? lifetime : validityOf(newest).notAfter - now;
    const limit = error.code === "SERVICE_DOWN" ? now + LONGEST_BLINDNESS : Number.POSITIVE_INFINITY;
    facts = withFailure(facts, step, failureOf(error), now, (attempt) =>
      Math.min(limit, retryAt(now, { attempt, lifetime, remaining, seed: `${name} ${step}` }, error.retryAt ?? null)),
    );
    logFailure(log, name, step, error, facts.failures[step]);
  };

  const look = async (signal: AbortSignal): Promise<void> => {
    newest = await cache.newest();
    apply = (await applier.observe([name], signal)).get(name) ?? apply;
    deployed = apply?.deployed == null ? null : await cache.read(apply.deployed);
    const served = facts.proofs.find((proof) => proof?.proven === true && proof.generation !== newest?.number);
    const old = served?.generation == null ? null : await cache.read(served.generation);
    servedUntil = old === null ? null : old.chainNotAfter;
  };

  const adopt = async (signal: AbortSignal): Promise<void> => {
    const found = await applier.adopt(name, signal);
    if (found === undefined) {
      adoptionRefused = true;
      return;
    }
    const roots = await world.issuer(desired.request.issuer).roots(signal);
    const { number } = await generations.stage(
      { request: desired.request, ...found, roots, issuedAt: clock.now(), via: "adopted" },
      apply?.deployed,
    );
    log.info("adopted", { certificate: name, generation: number, serial: found.chain[0].serial });
  };

  const renewOrMint = async ({ renewal, because }: Plan & { kind: "issue" }, signal: AbortSignal): Promise<void> => {
    const asked = wish;
    if (asked !== null) wish = { ...asked, attempted: true };
    const issuer = world.issuer(desired.request.issuer);
    const order = desired;
    try {
      issuing = true;
      const current = newest === null ? undefined : await generations.read(newest.number);
      const generation = await issue(
        { desired: order, current, renewal, after: apply?.deployed ?? null },
        { issuer, generations, now: clock.now },
        (issued) => {
          if (asked === null) facts = withIssuance(facts, clock.now());
          log.debug("the CA answered", { certificate: name, via: issued.via });
          for (const rung of issued.failedRungs) logFailure(log, name, "issue", errorOf(rung), null);
        },
        signal,
      );
      logIssued(log, name, generation, because);
      facts = withoutFailure(facts, "issue");
      wish = null;
    } finally {
      issuing = false;
      issuer.specsWaiting(world.waiting(order.request.issuer));
    }
  };

  const deploy = async (signal: AbortSignal): Promise<void> => {
    const report = await applier.apply(name, signal);
    logDeployed(log, name, report);
    justReloaded = true;
    facts = withRepairs(facts, report.repaired, clock.now());
    if (report.deployed === newest?.number)
      facts = { ...facts, deployed: desired.outputs.map((output) => output.path) };
    if (report.failure !== null) return fail("apply", errorOf(report.failure));
    facts = withoutFailure(facts, "apply");
    const unable = report.services.find((service) => service.failure !== null);
    if (unable?.failure != null) fail("prove", errorOf(unable.failure));
  };

  const prove = async (indices: readonly number[], signal: AbortSignal): Promise<void> => {
    const generation = newest;
    if (generation === null || apply === undefined) return;
    const fresh = justReloaded;
    justReloaded = false;
    const services = apply.services;
    const verdicts = await Promise.all(
      indices.map(async (index) => {
        const [service, seen] = [desired.services[index], services[index]];
        if (service === undefined || seen === undefined) return undefined;
        const verdict = await proveService(
          service,
          seen,
          generation,
          { prove: world.prove, now: clock.now, fresh },
          signal,
        );
        return { index, ...verdict };
      }),
    );
    if (signal.aborted) return;
    const proofs: (Proof | null)[] = desired.services.map((_, index) => facts.proofs[index] ?? null);
    let failure: unknown;
    for (const verdict of verdicts) {
      if (verdict === undefined) continue;
      const before = proofs[verdict.index];
      logVerdict(log, name, verdict, isProof(before, generation));
      proofs[verdict.index] = verdict.proof;
      failure ??= verdict.failure;
    }
    facts = { ...facts, proofs };
    if (failure === undefined) facts = withoutFailure(facts, "prove");
    else fail("prove", failure);
  };

  const act = async (next: Exclude<Plan, { kind: "wait" }>, signal: AbortSignal): Promise<void> => {
    const step: Step = next.kind === "adopt" ? "issue" : next.kind;
    try {
      if (next.kind === "adopt") await adopt(signal);
      else if (next.kind === "issue") await world.issuing(() => renewOrMint(next, signal));
      else if (next.kind === "apply") await deploy(signal);
      else await prove(next.services, signal);
    } catch (error) {
      // An end that was asked for is no failure: the next start goes on from the facts.
      if (!signal.aborted) fail(step, error);
    }
    await save();
  };

  const work = async (signal: AbortSignal): Promise<void> => {
    dueAt = clock.now() + LONGEST_SLEEP;
    try {
      for (let turn = 0; turn < TURNS && !signal.aborted; turn++) {
        await look(signal);
        const seen = observed();
        if (seen === undefined) return;
        const next = plan(desired, seen, clock.now());
        log.debug("planned", { certificate: name, action: next.kind, because: next.because });
        if (next.kind === "wait") {
          dueAt = next.until;
          if (newest !== null && apply?.deployed === newest.number) await generations.prune([newest.number]);
          return;
        }
        await act(next, signal);
      }
    } catch (error) {
      if (!signal.aborted) logFailure(log, name, "apply", asAgentError(error), null);
    }
  };

  return {
    name,
    work,
    look,
    update: (version, why) => {
      broken = why;
      if (version.digest !== desired.digest) {
        facts = factsOfSpec(facts, version.digest);
        adoptionRefused = false;
      }
      desired = version;
      dueAt = 0;
    },
    renew: () => {
      wish ??= { since: clock.now(), attempted: false };
      if (!issuing) wish = { ...wish, attempted: false };
      dueAt = 0;
    },
    forgive: () => {
      facts = withoutFailure(facts, "issue");
      dueAt = 0;
    },
    view: () => {
      const seen = observed();
      return seen && { desired, observed: seen, deployed, issuing, broken };
    },
    dueAt: () => dueAt,
    newestRecord: () => Math.max(facts.writtenAt, newest?.issuedAt ?? 0),
    isWaiting: () => newest === null,
    deployedPaths: () => facts.deployed,
  };
}
