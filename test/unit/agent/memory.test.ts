import { mkdir, mkdtempDisposable, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname } from "node:path";
import { expect, test } from "vitest";
import { fail, observedOf, recall, save } from "../../../src/agent/memory.ts";
import { observe } from "../../../src/agent/observe.ts";
import type { World } from "../../../src/agent/world.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { formatInstant, HOUR, MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { apply, desired, generation, NOT_BEFORE } from "../core/given.ts";

test("after the end of an intermediate the CA is asked as seldom as after the end of a leaf", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  const silent = () => undefined;
  const ends = NOT_BEFORE + HOUR + MINUTE;
  let now = ends - MINUTE;
  const world = {
    clock: { ...systemClock, now: () => now },
    layout: layoutOf(home.path, home.path),
    clockSuspectFor: () => null,
    log: { debug: silent, info: silent, warning: silent, error: silent },
  } satisfies Partial<World> as unknown as World;
  const memory = await recall(world, desired(), null);
  // A leaf of 24 hours that was issued a minute before its intermediate ends, as the last of many.
  memory.newest = generation({ notBefore: ends - 2 * MINUTE, notAfter: ends + 24 * HOUR, chainNotAfter: ends });
  const delayOf = (): number => {
    fail(memory, "issue", new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: refused"));
    return (memory.facts.failures.issue?.tryAt ?? 0) - now;
  };
  const before = delayOf();
  now = ends + HOUR;
  for (let attempt = 0; attempt < 10; attempt++) delayOf();

  expect(before).toBeLessThanOrEqual(MINUTE);
  expect(delayOf()).toBeGreaterThanOrEqual(15 * MINUTE - SECOND);
});

test("the journal tells of a failed issuance when it is tried again, the storm breaker included", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  const told: unknown[] = [];
  const world = {
    clock: { ...systemClock, now: () => NOT_BEFORE },
    layout: layoutOf(home.path, home.path),
    clockSuspectFor: () => null,
    log: { warning: (_: string, fields: { readonly try_again?: string }) => void told.push(fields.try_again) },
  } satisfies { [Part in keyof World]?: unknown } as unknown as World;
  const memory = await recall(world, desired(), null);
  memory.facts = { ...memory.facts, issuances: [NOT_BEFORE - MINUTE, NOT_BEFORE - SECOND, NOT_BEFORE] };

  fail(memory, "issue", new AgentError("CHAIN_UNUSABLE", "Cannot use it"));

  // Nothing was issued yet, so the lifetime counts as a day.
  expect(told).toEqual([formatInstant(NOT_BEFORE - MINUTE + 4 * HOUR)]);
});

test("of a service that stays down the journal is told again when the looks have doubled, and of anything new at once", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  const told: (number | undefined)[] = [];
  const world = {
    clock: { ...systemClock, now: () => NOT_BEFORE },
    layout: layoutOf(home.path, home.path),
    clockSuspectFor: () => null,
    log: { warning: (_: string, fields: { readonly attempt?: number }) => void told.push(fields.attempt) },
  } satisfies { [Part in keyof World]?: unknown } as unknown as World;
  const memory = await recall(world, desired(), null);
  const down = (): void => fail(memory, "prove", new AgentError("SERVICE_DOWN", "Cannot prove nginx: it is down"));

  for (let look = 0; look < 5; look++) down();
  fail(memory, "prove", new AgentError("SERVICE_STALE", "Cannot prove nginx: it serves another leaf"));
  down();
  for (let look = 0; look < 10; look++) down();

  expect(told).toEqual([1, 2, 4, 6, 7, 8, 16]);
});

test("an obstacle keeps the time at which it was first seen for as long as it is the same one", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  let now = NOT_BEFORE;
  let seen: string | null = null;
  const obstacle = () =>
    seen === null ? null : { code: "DEPLOY_FAILED" as const, message: seen, hint: null, retryAt: null };
  const world = {
    clock: { ...systemClock, now: () => now },
    layout: layoutOf(home.path, home.path),
    clockSuspectFor: () => null,
    applier: { observe: async () => new Map([["web", apply({ deployed: null, obstacle: obstacle() })]]) },
  } satisfies { [Part in keyof World]?: unknown } as unknown as World;
  const memory = await recall(world, desired({ name: "web" }), null);
  const look = async (message: string | null): Promise<number | null> => {
    now += MINUTE;
    seen = message;
    await observe(memory, new AbortController().signal);
    return observedOf(memory).obstacleSince;
  };
  const minutes = (since: number | null) => since && (since - NOT_BEFORE) / MINUTE;

  const since = [];
  for (const each of [null, "full", "full", "no user", "no user", null]) since.push(minutes(await look(each)));

  expect(since).toEqual([null, 2, 2, 4, 4, null]);
});

test("state that cannot be written is tried again each time, and told of once", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  const layout = layoutOf(home.path, home.path);
  const told: string[] = [];
  const world = {
    clock: systemClock,
    layout,
    log: { warning: (text: string) => void told.push(text) },
  } satisfies { [Part in keyof World]?: unknown } as unknown as World;
  const memory = await recall(world, desired({ name: "web" }), null);
  memory.facts = { ...memory.facts, issuances: [NOT_BEFORE] };
  await mkdir(layout.agent.folder);
  await writeFile(dirname(layout.agent.facts("web")), "no folder");

  for (let time = 0; time < 3; time++) await save(memory);
  const whileFull = [...told];
  await rm(dirname(layout.agent.facts("web")));
  await save(memory);

  expect(whileFull).toEqual(["cannot keep state"]);
  expect(memory.saved).toBe(memory.facts);
  memory.facts = { ...memory.facts, issuances: [] };
  await rm(dirname(layout.agent.facts("web")), { recursive: true });
  await writeFile(dirname(layout.agent.facts("web")), "no folder");
  await save(memory);
  expect(told).toHaveLength(2);
});
