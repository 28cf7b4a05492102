/** What is measured, in which order. */
import { type Milliseconds, pause, SECOND, systemClock } from "../../src/base/time.ts";
import type { Home } from "../servers/program.ts";
import { makeFoldersApart, WAYS } from "../servers/ways.ts";
import { type BenchHost, filesIn, startHost } from "./bench-host.ts";
import { atRest, type Event, SETTLING, startBareNode, startMeasured } from "./measured-agent.ts";
import { startMeasuredRoot } from "./measured-root.ts";
import { cpuOf, type Memory, memoryOf, type Rest, restOf } from "./process-figures.ts";
import { cpuOfRenewal, memoryOfDaemons } from "./step.ts";
import { median } from "./table.ts";

/** What can be measured by itself: the fields of {@link Figures}. */
export const PARTS = ["minted", "all", "one", "plain", "many", "apart", "drop", "rest", "step"] as const;
export type Part = (typeof PARTS)[number];

export interface Scale {
  readonly specs: number;
  /** How often each thing is measured. */
  readonly rounds: number;
  /** How long the idle agent is looked at. */
  readonly idle: Milliseconds;
  /** The file that is measured. */
  readonly bundle: string;
  readonly parts: ReadonlySet<Part>;
}

/** A part that was not asked for is undefined. */
export interface Figures {
  /** The process that minted all. */
  readonly minted: Memory | undefined;
  readonly one: Life | undefined;
  readonly all: Life | undefined;
  /** The same without services, as a client that only writes files. */
  readonly plain: Life | undefined;
  /** Three times as many of these, at rest after a start: what one of them adds, beyond what only the first ones cost. */
  readonly many: Memory | undefined;
  /** The same as two processes, as shipped: all specs at one time, and one that is renewed alone. */
  readonly apart: { readonly all: Apart; readonly one: Apart } | undefined;
  readonly drop: Drop | undefined;
  readonly rest: Rest | undefined;
  /** As many `step ca renew --daemon` as there are specs, and the processor time of one `step ca renew`. */
  readonly step: { readonly memory: Memory; readonly cpu: Milliseconds } | undefined;
  /** From the start of a Node that does nothing to its end. */
  readonly bareNode: Milliseconds;
}

/** Starts the servers, measures everything, and ends them. `tell` hears of each step. */
export async function measure(scale: Scale, tell: (step: string) => void): Promise<Figures> {
  const { specs, rounds, bundle, parts } = scale;
  const names = numbered("web", specs);
  const [alone, dropped, strange] = ["alone.internal", numbered("dropped", rounds), numbered("strange", rounds)];
  await using host = await startHost([...names, alone, ...dropped, ...strange]);
  const homes = {
    all: await host.home(names, "served"),
    one: await host.home([alone], "served"),
    plain: await host.home(names, "files"),
    apart: { all: await host.homeApart(names), one: await host.homeApart([alone]) },
  };

  /** Does what any of these parts needs, where one of them was asked for. */
  const part = async <Found>(of: readonly Part[], what: string, act: () => Promise<Found>) => {
    if (!of.some((one) => parts.has(one))) return undefined;
    tell(what);
    return await act();
  };
  const minted = await part(["minted", "all", "rest"], `minting ${specs} certificates`, () =>
    mint(homes.all, names, "proven", bundle),
  );
  const all = await part(["all"], `${specs} specs: starting, and renewing all`, () =>
    live(homes.all, names, "proven", scale),
  );
  await part(["one", "drop"], "minting one certificate", () => mint(homes.one, [alone], "proven", bundle));
  const one = await part(["one"], "one spec: starting, and renewing it", () =>
    live(homes.one, [alone], "proven", scale),
  );
  await part(["plain", "step"], `minting ${specs} certificates for files alone`, () =>
    mint(homes.plain, names, "deployed", bundle),
  );
  const plain = await part(["plain"], `${specs} specs without services: starting, and renewing all`, () =>
    live(homes.plain, names, "deployed", scale),
  );
  const apart = await part(["apart"], `${specs} specs without services, and one, as two processes`, async () => ({
    all: await liveApart(homes.apart.all, names, scale),
    one: await liveApart(homes.apart.one, [alone], scale),
  }));
  const drop = await part(["drop"], "dropping a spec", () => dropSpecs(host, homes.one, dropped, strange, bundle));
  const rest = await part(["rest"], `${specs} specs: looking at the idle agent for ${scale.idle / SECOND} s`, () =>
    idle(homes.all, scale),
  );
  const many = await part(["many"], `${3 * specs} specs without services: starting`, async () => {
    const all = numbered("many", 3 * specs);
    const home = await host.home(all, "files");
    await mint(home, all, "deployed", bundle);
    return medianOf(await repeatedly(rounds, () => start(home, bundle)), MEMORY);
  });
  const pairs = names.map((name) => filesIn(homes.plain, name));
  const step = await part(["step"], `${specs} times step ca renew`, async () => ({
    cpu: await cpuOfRenewal(host.ca, pairs),
    memory: await memoryOfDaemons(host.ca, pairs),
  }));
  const bareNode = median(await repeatedly(rounds, startBareNode));
  return { minted, one, all, plain, many, apart, drop, rest, step, bareNode };
}

function numbered(word: string, count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => `${word}-${index}.internal`);
}

async function repeatedly<Result>(times: number, act: (round: number) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let round = 0; round < times; round++) results.push(await act(round));
  return results;
}

function medianOf<Key extends string>(records: readonly Readonly<Record<Key, number>>[], keys: readonly Key[]) {
  return Object.fromEntries(keys.map((key) => [key, median(records.map((one) => one[key]))])) as Record<Key, number>;
}

const MEMORY = ["rss", "pss", "dirty"] as const;

async function mint(home: Home, names: readonly string[], event: Event, bundle: string): Promise<Memory> {
  await using agent = await startMeasured(home, bundle);
  await agent.told(event, names);
  await atRest(agent.pid);
  return memoryOf(agent.pid);
}

/** An agent that finds its certificates, and does nothing for a while. */
async function start(home: Home, bundle: string): Promise<Memory> {
  await using agent = await startMeasured(home, bundle);
  await atRest(agent.pid);
  return memoryOf(agent.pid);
}

/** An agent that finds its certificates: it starts, does nothing for a while, and renews all. */
export interface Life {
  readonly ready: Milliseconds;
  /** The processor time until then. */
  readonly readyCpu: Milliseconds;
  readonly idle: Memory;
  readonly renewal: Milliseconds;
  readonly renewed: Memory;
  /** The processor time of one of the renewals. */
  readonly cpu: Milliseconds;
}

/** The medians of several lives. */
async function live(home: Home, names: readonly string[], event: Event, { rounds, bundle }: Scale): Promise<Life> {
  const lives = await repeatedly(rounds, async (): Promise<Life> => {
    await using agent = await startMeasured(home, bundle);
    const readyCpu = cpuOf(agent.pid);
    await atRest(agent.pid);
    const idle = memoryOf(agent.pid);
    agent.forget();
    const [began, used] = [systemClock.monotonic(), cpuOf(agent.pid)];
    agent.renewAll();
    await agent.told(event, names);
    const renewal = systemClock.monotonic() - began;
    await atRest(agent.pid);
    const cpu = (cpuOf(agent.pid) - used) / names.length;
    return { ready: agent.readyAfter, readyCpu, idle, renewal, cpu, renewed: memoryOf(agent.pid) };
  });
  return {
    ...medianOf(lives, ["ready", "readyCpu", "renewal", "cpu"]),
    idle: medianOf(
      lives.map((life) => life.idle),
      MEMORY,
    ),
    renewed: medianOf(
      lives.map((life) => life.renewed),
      MEMORY,
    ),
  };
}

/** The processor time of one renewal. */
export interface Apart {
  readonly agent: Milliseconds;
  /** Its starts included. */
  readonly root: Milliseconds;
}

async function liveApart(home: Home, names: readonly string[], { rounds, bundle }: Scale): Promise<Apart> {
  await makeFoldersApart(home);
  await using root = startMeasuredRoot(home, bundle);
  await using agent = await startMeasured(home, bundle, WAYS.apart.agent);
  await agent.told("deployed", names);
  const lives = await repeatedly(rounds, async (): Promise<Apart> => {
    const [rootBefore, agentBefore] = [await root.used(), cpuOf(agent.pid)];
    agent.forget();
    agent.renewAll();
    await agent.told("deployed", names);
    await pause(SETTLING);
    const [rootUsed, agentUsed] = [(await root.used()) - rootBefore, cpuOf(agent.pid) - agentBefore];
    return { root: rootUsed / names.length, agent: agentUsed / names.length };
  });
  return medianOf(lives, ["agent", "root"]);
}

export interface Drop {
  /** From the rename of the spec to its place until the new certificate was seen to be served. */
  readonly proven: Milliseconds;
  /** What the CA needed to sign by its own log, and nginx from a reload until it served another pair. */
  readonly others: Milliseconds;
}

async function dropSpecs(
  host: BenchHost,
  home: Home,
  dropped: readonly string[],
  strange: readonly string[],
  bundle: string,
): Promise<Drop> {
  await using agent = await startMeasured(home, bundle);
  await pause(SETTLING);
  const drops = await repeatedly(dropped.length, async (round): Promise<Drop> => {
    const name = dropped[round] ?? "";
    const began = systemClock.monotonic();
    await host.drop(home, name, "served");
    await agent.told("proven", [name]);
    const proven = systemClock.monotonic() - began;
    const reload = await host.reloadTime(strange[round] ?? "");
    return { proven, others: reload + (host.ca.durations("/sign").at(-1) ?? Number.NaN) };
  });
  return medianOf(drops, ["proven", "others"]);
}

/** What a start leaves pending is over by then: the watching of specs has ten seconds to begin. */
const STARTED: Milliseconds = 12 * SECOND;

async function idle(home: Home, { bundle, idle: span }: Scale): Promise<Rest> {
  await using agent = await startMeasured(home, bundle);
  await pause(STARTED);
  return await restOf(agent.pid, span);
}
