/** What the root side does for each request, and what it answers: nothing but what the agent may know anyway. */
import { failureOf } from "../../base/errors.ts";
import { semaphores } from "../../base/semaphore.ts";
import { type Clock, MINUTE, type Milliseconds, pause, SECOND } from "../../base/time.ts";
import {
  type Adoption,
  type Application,
  adoptionOf,
  type Observation,
  type ObservedSpec,
} from "../../store/reports.ts";
import type { RecoveringApplier } from "../applier.ts";
import { createCoalesce } from "../coalesce.ts";
import type { Taken } from "./take.ts";

/** What one request comes to. Throws what is to be told as its failure. */
export type Answerer = (taken: Pick<Taken, "request" | "askedAt">, signal: AbortSignal) => Promise<unknown>;

/** Once nothing has come for so long, what is left holds up the facts of its own spec alone: that is asked about by itself. */
const PROMPT: Milliseconds = SECOND;
/** What hangs, a file system perhaps, does not keep this process at work for ever. */
const PATIENT: Milliseconds = MINUTE;
/** Specs that are looked at at one time: each look may start a process. */
const PARALLEL_LOOKS = 32;

export function createAnswerer(applier: RecoveringApplier, clock: Clock): Answerer {
  const looking = createCoalesce<ObservedSpec | undefined>(clock, 0);
  const places = semaphores(PARALLEL_LOOKS);
  const look = (name: string, signal: AbortSignal): Promise<ObservedSpec | undefined> =>
    looking(name, () => places("look", () => observe(applier, name, signal)));

  return async ({ request, askedAt }, signal) => {
    switch (request.kind) {
      case "observe":
        return await observation(await applier.specs(), (name) => look(name, signal), PROMPT, clock, signal);
      case "look":
        return await observation([request.spec], (name) => look(name, signal), PATIENT, clock, signal);
      case "adopt":
        return adoptionOf(await applier.adopt(request.spec, signal)) satisfies Adoption;
      case "apply": {
        const report = await applier.apply(request.spec, signal, request.again);
        const observed = await look(request.spec, signal);
        return { report, observed: signal.aborted ? null : (observed ?? null) } satisfies Application;
      }
      case "failed":
        await applier.failed(request.spec, signal);
        return null;
      case "forget":
        await applier.forget(request.issuer, askedAt, signal);
        return null;
    }
  };
}

/**
 * All specs, or those whose facts are there once none has come for as long as `patience`, or in all for longer than anybody
 * should wait. Rejects where `signal` aborts: what was cut off is no word on a spec.
 */
async function observation(
  names: readonly string[],
  look: (name: string) => Promise<ObservedSpec | undefined>,
  patience: Milliseconds,
  clock: Clock,
  signal: AbortSignal,
): Promise<Observation> {
  const found: ObservedSpec[] = [];
  const begun = clock.monotonic();
  let latest = begun;
  const all = names.map(async (name) => {
    const observed = await look(name);
    latest = clock.monotonic();
    if (observed !== undefined) found.push(observed);
  });
  const over = new AbortController();
  const ended = AbortSignal.any([over.signal, signal]);
  const left = (): Milliseconds => Math.min(latest + patience, begun + PATIENT) - clock.monotonic();
  const late = async (): Promise<false> => {
    while (left() > 0 && !ended.aborted) await pause(left(), ended);
    return false;
  };
  const isWhole = await Promise.race([Promise.all(all).then(() => true), late()]);
  over.abort();
  signal.throwIfAborted();
  return { specs: [...found], isWhole };
}

/** Undefined where it is no spec in force. */
async function observe(
  applier: RecoveringApplier,
  name: string,
  signal: AbortSignal,
): Promise<ObservedSpec | undefined> {
  try {
    const seen = await applier.look(name, signal);
    return seen && { name, ...seen };
  } catch (error) {
    return { name, failure: failureOf(error) };
  }
}
