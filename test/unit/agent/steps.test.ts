import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Memory, recall } from "../../../src/agent/memory.ts";
import { deploy, prove } from "../../../src/agent/steps.ts";
import type { Sighting } from "../../../src/agent/world.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/base/time.ts";
import type { Applier, ApplyReport } from "../../../src/core/applier.ts";
import { withFailure } from "../../../src/core/facts.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { makePki } from "../../servers/pki.ts";
import { apply, desired, generation } from "../core/given.ts";

const signal = new AbortController().signal;

/** A certificate whose forced renewal is deployed and is now looked at. */
async function beingProven(sighting: Sighting): Promise<Memory> {
  const nowhere = join(tmpdir(), "certagent-nowhere");
  const never = (): never => {
    throw new Error("was not to be asked");
  };
  const applier: Applier = { observe: never, adopt: never, apply: never, failed: never, forget: never };
  const world = {
    clock: systemClock,
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout: layoutOf(nowhere, nowhere),
    applier,
    prove: () => Promise.resolve(sighting),
    issuer: never,
    issuing: never,
    isAwaited: never,
    clockSuspectFor: () => null,
  };
  const memory = await recall(world, desired(), null);
  return Object.assign(memory, { newest: generation(), apply: apply(), joinable: true });
}

test("a wish that comes once a forced renewal is proven is another one, and joins it no more", async () => {
  const memory = await beingProven({ served: true });

  await prove(memory, [0], signal);

  expect(memory.joinable).toBe(false);
});

test("a wish that comes while a forced renewal is not proven yet joins it", async () => {
  const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
  const memory = await beingProven({ served: false, failure, other: undefined });

  await expect(prove(memory, [0], signal)).rejects.toThrow(failure.message);

  expect(memory.joinable).toBe(true);
});

test.each([
  ["up", false],
  ["down", true],
] as const)(
  "a service that shows another leaf and was seen %s before is looked at afresh: %s",
  async (liveness, afresh) => {
    const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
    const memory = await beingProven({ served: false, failure, other: (await (await makePki()).issue()).leaf });
    memory.apply = { ...memory.apply, services: memory.apply.services.map((one) => ({ ...one, liveness })) };

    await expect(prove(memory, [0], signal)).rejects.toThrow(failure.message);

    expect(memory.lookAfresh).toBe(afresh);
  },
);

test.each([
  ["a service that has just taken new files is looked at at once", "written", "reloaded", null],
  ["a service that was told again of files that it has not taken keeps its back-off", "unchanged", "reloaded", 1],
  ["a service that is down keeps its back-off, whatever files were written for it", "written", "down", 1],
] as const)("%s", async (_, files, outcome, attempts) => {
  const memory = await beingProven({ served: true });
  const services: ApplyReport["services"] = [{ type: "nginx", outcome, failure: null, note: null }];
  const report: ApplyReport = { deployed: 1, files, services, failure: null, actions: [], repaired: [] };
  const applier: Applier = { ...memory.world.applier, apply: () => Promise.resolve(report) };
  const down = { code: "SERVICE_DOWN", message: "Cannot connect", hint: null, retryAt: null } as const;
  const facts = withFailure(memory.facts, "prove", down, systemClock.now(), () => systemClock.now() + 30_000);

  const looked = Object.assign(memory, { facts, world: { ...memory.world, applier } });
  await deploy(looked, signal);

  expect(looked.facts.failures.prove?.attempts ?? null).toBe(attempts);
});
