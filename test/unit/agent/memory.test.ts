import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { fail, recall } from "../../../src/agent/memory.ts";
import type { World } from "../../../src/agent/world.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { HOUR, MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { desired, generation, NOT_BEFORE } from "../core/given.ts";

test("after the end of an intermediate the CA is asked as seldom as after the end of a leaf", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-memory-`);
  const silent = () => undefined;
  const ends = NOT_BEFORE + HOUR + MINUTE;
  let now = ends - MINUTE;
  const world = {
    clock: { ...systemClock, now: () => now },
    layout: layoutOf(home.path, home.path),
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
