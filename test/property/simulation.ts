/**
 * Drives the real agent – loop, plan, back-off, store, issuance, proof – through months in seconds: real certificates
 * and real files, but time, CA and host are models. A kill is what SIGKILL is: the state folder as it is at that
 * instant goes to the next life, and nothing of the killed agent has any effect any more.
 */
import { existsSync } from "node:fs";
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Agent, createAgent } from "../../src/agent/agent.ts";
import { type Instant, LONGEST_SLEEP, type Milliseconds, SECOND } from "../../src/base/time.ts";
import type { Issuer } from "../../src/core/ports.ts";
import { layoutOf } from "../../src/store/layout.ts";
import type { Death, History, Sample } from "./history.ts";
import { type ModelPki, modelCa } from "./model-ca.ts";
import { modelHost } from "./model-host.ts";
import {
  type Event,
  type Happening,
  happeningsOf,
  instantOf,
  type KillPoint,
  type Scenario,
  spanOf,
} from "./scenario.ts";
import { clockOf, never, type Sleeping, simulatedTime, turn, turns } from "./simulated-time.ts";
import { copyOfFolder } from "./snapshot.ts";
import { type ModelSpec, specFolder } from "./spec-folder.ts";

export interface SimulationOptions {
  /** `web` at `internal` unless told. */
  readonly specs?: readonly ModelSpec[];
  /** Done to the state folder when an agent was killed: how bugs are planted. */
  readonly onKill?: (stateFolder: string) => Promise<void>;
  /** Put around every CA: how bugs are planted. */
  readonly wrapIssuer?: (issuer: Issuer) => Issuer;
  /** How far the host's clock is behind the truth from the beginning: how bugs are planted. */
  readonly lag?: Milliseconds;
  /** Called where the agent calls the world. */
  readonly onCall?: (point: KillPoint, agent: Agent, at: Instant) => void;
  /** How many turns of the event loop a reading of the specs takes; 1 unless told. */
  readonly readingTurns?: number;
  /** How many steps a lifetime is cut into where nothing is due; 100 unless told. */
  readonly steps?: number;
}

interface Life extends Sleeping {
  readonly agent: Agent;
  readonly folder: string;
  readonly died: Promise<void>;
  /** Kills the agent now. */
  die(): void;
}

/** More wake-ups than that without time passing is a loop that never sleeps. */
const HOT = 200;
/** After an event the clock goes on by real ticks for so long: drift is to be repaired within 60 s. */
const CLOSE_LOOK: Milliseconds = 3 * LONGEST_SLEEP;

export async function simulate(
  scenario: Scenario,
  authorities: ModelPki,
  options: SimulationOptions = {},
): Promise<History> {
  const { specs: modelSpecs = [{ name: "web", issuer: "internal" }], steps = 100, wrapIssuer } = options;
  await using home = await mkdtempDisposable(join(existsSync("/dev/shm") ? "/dev/shm" : tmpdir(), "certagent-"));
  const time = simulatedTime();
  time.step(-(options.lag ?? 0));
  const host = modelHost(scenario, time);
  const specs = specFolder(modelSpecs, scenario, options.readingTurns);
  const cas = new Map(
    modelSpecs.map(({ issuer, faultless = false }) => [
      issuer,
      modelCa(issuer, faultless ? { ...scenario, events: [] } : scenario, time, authorities),
    ]),
  );
  const end = instantOf(scenario, { at: scenario.lasts });
  const samples: Sample[] = [];
  const deaths: Death[] = [];
  const restarts: { at: Instant; before: string; after: string }[] = [];
  const crashes: string[] = [];
  const armed: (Event & { kind: "kill" })[] = [];
  let inFlight = 0;
  let doomed = false;
  let lives = 0;

  // ---------------------------------------------------------------------------------------------------------- a life

  const beginLife = async (folder: string): Promise<Life> => {
    const { promise: died, resolve } = Promise.withResolvers<void>();
    const layout = layoutOf(folder, folder);

    /** A call of the agent to the world: a place to be killed before and after, and dead agents get no answer. */
    const called = async <Result>(
      before: KillPoint,
      after: KillPoint,
      call: () => Promise<Result>,
    ): Promise<Result> => {
      if (!life.isAlive) return never();
      reach(life, before);
      inFlight += 1;
      try {
        return await call();
      } finally {
        inFlight -= 1;
        reach(life, after);
        if (!life.isAlive) await never();
      }
    };
    const applier = host.applier(layout);
    const issuerOf = (name: string): Issuer => {
      const model = cas.get(name)?.issuer;
      if (model === undefined) throw new Error(`no CA "${name}"`);
      const issuer = wrapIssuer?.(model) ?? model;
      return {
        ...issuer,
        issue: (order, signal) => called("ca-asked", "ca-answered", () => issuer.issue(order, signal)),
      };
    };

    const agent = createAgent({
      clock: clockOf(time, () => life),
      log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
      layout,
      specs,
      createIssuer: issuerOf,
      prove: (target, fingerprint, within, signal) =>
        called("proving", "proving", () => host.prove(target, fingerprint, within, signal)),
      applier: {
        observe: (asked, signal) => called("at-rest", "at-rest", () => applier.observe(asked, signal)),
        adopt: (name, signal) => called("at-rest", "at-rest", () => applier.adopt(name, signal)),
        apply: (name, signal) => called("applying", "applied", () => applier.apply(name, signal)),
        failed: (name, signal) => applier.failed(name, signal),
        forget: (issuer, used, signal) => applier.forget(issuer, used, signal),
      },
    });
    const life: Life = {
      agent,
      folder,
      died,
      die: () => {
        life.isAlive = false;
        resolve();
      },
      sleeper: undefined,
      isAlive: true,
    };
    await agent.reread();
    return life;
  };

  const run = (life: Life): void => {
    life.agent.run(new AbortController().signal, () => {}).catch((error: unknown) => crashes.push(String(error)));
  };

  const deathAt = (point: KillPoint): Death => ({
    at: time.truth(),
    point,
    asked: [...cas.values()].reduce((sum, { calls }) => sum + calls.length, 0),
  });

  /** Kills the agent some turns after a point that an armed kill waits for. */
  const reach = (life: Life, point: KillPoint): void => {
    options.onCall?.(point, life.agent, time.truth());
    const index = armed.findIndex((kill) => kill.point === point);
    const [kill] = index === -1 ? [] : armed.splice(index, 1);
    if (kill === undefined || doomed) return;
    doomed = true;
    void turns(kill.turns).then(() => {
      deaths.push(deathAt(point));
      life.die();
    });
  };

  const nextLife = async (dead: Life): Promise<Life> => {
    lives += 1;
    const folder = join(home.path, String(lives));
    copyOfFolder(dead.folder, folder);
    await options.onKill?.(folder);
    while (inFlight > 0) await turn();
    doomed = false;
    return beginLife(folder);
  };

  // -------------------------------------------------------------------------------------------------------- the driver

  let life = await beginLife(join(home.path, "0"));
  run(life);

  /** Until the agent sleeps and nothing is under way; with another life where this one ended meanwhile. */
  const settle = async (): Promise<void> => {
    for (let hot = 0; hot < HOT; ) {
      const { sleeper } = life;
      await Promise.race([life.agent.settled(), life.died]);
      await turn();
      if (doomed && life.isAlive) await life.died;
      if (!life.isAlive) {
        life = await nextLife(life);
        run(life);
      } else if (life.sleeper !== undefined && life.sleeper === sleeper) return;
      else hot += 1;
    }
    crashes.push(`${new Date(time.truth()).toISOString()}: the agent does not come to rest`);
  };

  const servedNow = () => new Map(modelSpecs.map(({ name }) => [name, host.site(name).served]));

  const everythingTold = async (): Promise<string> => {
    const plans = await life.agent.plan([], AbortSignal.timeout(10_000));
    return JSON.stringify({ status: life.agent.status([]), plans }, null, 1);
  };

  const wake = (): void => {
    const { sleeper } = life;
    life.sleeper = undefined;
    sleeper?.wake();
  };

  let isComparable = true;
  const perform = async (event: Happening): Promise<void> => {
    if (event.kind === "drift")
      for (const { name } of modelSpecs) host.site(name).drifted = host.site(name).deployed !== null;
    if (event.kind === "suspend") time.suspend(spanOf(scenario, event));
    if (event.kind === "step") {
      time.step(event.by);
      isComparable = false;
    }
    if (event.kind === "edit") {
      specs.edit(event.what);
      await Promise.race([life.agent.reread(), life.died]);
    }
    if (event.kind === "sighup") {
      isComparable = false;
      const reloads: Promise<void>[] = [];
      for (let i = 0; i < event.times; i++) {
        reloads.push(life.agent.reload());
        await turns(event.turns);
      }
      await Promise.race([Promise.all(reloads), life.died]);
    }
    if (event.kind === "kill" && event.point !== "at-rest") armed.push(event);
    if (event.kind === "kill" && event.point === "at-rest") {
      const before = await everythingTold();
      deaths.push(deathAt("at-rest"));
      life.die();
      life = await nextLife(life);
      if (isComparable) restarts.push({ at: time.truth(), before, after: await everythingTold() });
      run(life);
    }
    if (event.kind === "suspend" || event.kind === "step") wake();
  };

  /** The next instant at which something can happen, true time. */
  const nextInstant = (closeUntil: Instant, nextEvent: Instant): Instant => {
    const now = time.truth();
    const tick = now + LONGEST_SLEEP;
    const sleeps = Math.max(now, (life.sleeper?.until ?? now) - time.offset());
    // An exact due time, or a look from close by: no jump.
    if (sleeps < tick || now < closeUntil) return Math.min(sleeps, tick, nextEvent);
    const due = life.agent.status([]).flatMap(({ next }) => (next === null ? [] : Date.parse(next.at) - time.offset()));
    const jump = Math.min(now + scenario.lifetime / steps, ...due.map((at) => at - SECOND), nextEvent);
    return Math.max(jump, Math.min(tick, nextEvent));
  };

  const events = happeningsOf(scenario);
  let closeUntil = time.truth() + CLOSE_LOOK;
  let sleepless = 0;
  while (time.truth() < end && crashes.length === 0) {
    await settle();
    samples.push({ at: time.truth(), statuses: life.agent.status([]), served: servedNow() });
    const [event] = events;
    if (event !== undefined && event.due <= time.truth()) {
      events.shift();
      await perform(event);
      closeUntil = time.truth() + CLOSE_LOOK;
      continue;
    }
    const nextEvent = event === undefined ? end : event.due;
    const span = nextInstant(closeUntil, nextEvent) - time.truth();
    sleepless = span > 0 ? 0 : sleepless + 1;
    if (sleepless > HOT) crashes.push(`${new Date(time.truth()).toISOString()}: the agent wakes without end`);
    time.pass(span);
    wake();
  }
  life.die();
  while (inFlight > 0) await turn();
  const calls = new Map([...cas].map(([name, ca]) => [name, ca.calls]));
  return { scenario, end, calls, site: host.site, samples, deaths, restarts, crashes };
}
