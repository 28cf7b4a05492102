import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Memory, recall } from "../../../src/agent/memory.ts";
import { deploy, prove } from "../../../src/agent/steps.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { DAY, HOUR, systemClock } from "../../../src/base/time.ts";
import type { Applier, ApplyReport } from "../../../src/core/applier.ts";
import { type Facts, withFailure } from "../../../src/core/facts.ts";
import type { Desired, Sighting } from "../../../src/core/ports.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { makePki } from "../../servers/pki.ts";
import { apply, desired, generation, proof, service, serviceFacts } from "../core/given.ts";

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
  await deploy(looked, [], signal);

  expect(looked.facts.failures.prove?.attempts ?? null).toBe(attempts);
});

test("that a service could not take its files is no failure of a spec that was edited meanwhile", async () => {
  const memory = await beingProven({ served: true });
  const failure = { code: "RELOAD_FAILED", message: "Cannot reload nginx", hint: null, retryAt: null } as const;
  const services: ApplyReport["services"] = [{ type: "nginx", outcome: "broken-before", failure, note: null }];
  const report: ApplyReport = { deployed: 3, files: "written", services, failure: null, actions: [], repaired: [] };
  const outputs = desired().outputs.map((output) => ({ ...output, path: "/etc/other.crt" }));
  const deployInto = async (edit: Partial<Desired>): Promise<Facts> => {
    const apply: Applier["apply"] = async () => {
      if (edit.digest !== memory.desired.digest) memory.edits += 1;
      memory.desired = desired(edit);
      return report;
    };
    const deploying = { ...memory, world: { ...memory.world, applier: { ...memory.world.applier, apply } } };
    await deploy(Object.assign(memory, deploying), [], signal);
    return memory.facts;
  };

  const edited = await deployInto({ digest: "d2", outputs });
  const kept = await deployInto({ digest: "d2", outputs });

  expect(edited.failures.prove).toBeNull();
  expect(edited.deployed).toEqual(["/etc/other.crt"]);
  expect(kept.failures.prove).toMatchObject({ code: "RELOAD_FAILED" });
});

/** Of two services the first is still not proven, for the reason that the streak has; the second is looked at. */
async function besideAnother(code: "SERVICE_STALE" | "SERVICE_DOWN", sighting: Sighting): Promise<Memory> {
  const memory = await beingProven(sighting);
  const failure = { code, message: "Cannot see it", hint: null, retryAt: null } as const;
  return Object.assign(memory, {
    desired: desired({ services: [service({ key: "a" }), service({ key: "b" })] }),
    apply: apply({ services: [serviceFacts(), serviceFacts()] }),
    facts: withFailure(
      { ...memory.facts, proofs: [proof({ proven: false, code }), proof()] },
      "prove",
      failure,
      systemClock.now(),
      () => systemClock.now() + HOUR,
    ),
  });
}

test("that one service serves does not end the back-off of another one", async () => {
  const memory = await besideAnother("SERVICE_STALE", { served: true });

  await prove(memory, [1], signal);

  expect(memory.facts.failures.prove).toMatchObject({ code: "SERVICE_STALE", attempts: 1 });
  expect(memory.facts.proofs[1]).toMatchObject({ proven: true });
});

test("that one service serves ends its failure, though another one waits for its maintenance window", async () => {
  const memory = await besideAnother("SERVICE_STALE", { served: true });
  const window = { at: (now: number) => ({ open: false, nextOpensAt: now + HOUR }) };
  const waiting = Object.assign(memory, {
    desired: desired({ services: [service({ key: "a", window }), service({ key: "b" })] }),
    apply: apply({
      services: [serviceFacts({ reloaded: null, servedUntil: systemClock.now() + DAY }), serviceFacts()],
    }),
    facts: { ...memory.facts, proofs: [proof({ generation: 2 }), proof({ proven: false })] },
  });

  await prove(waiting, [1], signal);

  expect(waiting.facts.failures.prove).toBeNull();
});

test("of a service whose own check refuses a look ends that failure once it serves all the same, and is none before", async () => {
  const refusal = { code: "RELOAD_FAILED", message: "Cannot reload it", hint: null, retryAt: null } as const;
  const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
  const lookedAt = async (sighting: Sighting): Promise<Facts> => {
    const memory = await beingProven(sighting);
    const facts = withFailure(memory.facts, "prove", refusal, systemClock.now(), () => systemClock.now() + HOUR);
    const untold = Object.assign(memory, { facts, apply: apply({ services: [serviceFacts({ reloaded: null })] }) });
    await prove(untold, [0], signal);
    return untold.facts;
  };

  const before = await lookedAt({ served: false, failure, other: undefined });
  const restarted = await lookedAt({ served: true });

  expect(before.failures.prove).toMatchObject({ code: "RELOAD_FAILED", attempts: 1 });
  expect(restarted.failures.prove).toBeNull();
  expect(restarted.proofs[0]).toMatchObject({ proven: true });
});

test("that one service is down does not hurry the reloads of another one that is stale, and is told once", async () => {
  const down = new AgentError("SERVICE_DOWN", "Cannot connect: refused");
  const memory = await besideAnother("SERVICE_STALE", { served: false, failure: down, other: undefined });
  const told: string[] = [];
  memory.world.log.warning = (text) => void told.push(text);

  for (let look = 0; look < 3; look++) await prove(memory, [1], signal);

  expect(memory.facts.failures.prove).toMatchObject({ code: "SERVICE_STALE", attempts: 1 });
  expect(memory.facts.proofs[1]).toMatchObject({ proven: false, code: "SERVICE_DOWN" });
  expect(told).toEqual(["not proven"]);
});

test("of a service that is down and one that is stale, the stale one is told of: it is to be reloaded again", async () => {
  const memory = await besideAnother("SERVICE_DOWN", { served: true });
  const down = new AgentError("SERVICE_DOWN", "Cannot connect: refused");
  const stale = new AgentError("SERVICE_STALE", "Cannot see the certificate: another one is served");
  const sightings: Sighting[] = [down, stale].map((failure) => ({ served: false, failure, other: undefined }));
  const looking = { ...memory.world, prove: () => Promise.resolve(sightings.shift() ?? { served: true }) };

  await expect(prove(Object.assign(memory, { world: looking }), [0, 1], signal)).rejects.toThrow(stale.message);
});
