import { expect, test } from "vitest";
import { proveService } from "../../../src/agent/prove.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { MINUTE, type Milliseconds } from "../../../src/base/time.ts";
import { addressText } from "../../../src/core/address.ts";
import type { ServiceFacts } from "../../../src/core/applier.ts";
import type { Proof } from "../../../src/core/facts.ts";
import type { Address, Prove, Service, Sighting } from "../../../src/core/ports.ts";
import { generation, NOW, service, serviceFacts } from "../core/given.ts";

const signal = new AbortController().signal;
const unaware: Sighting = { served: false, failure: new AgentError("BUG", "was not to be asked"), other: undefined };

async function verdictOf(
  facts: Partial<ServiceFacts>,
  {
    sighting = unaware,
    changes = {},
    lookedFor = null,
    before = null,
  }: { sighting?: Sighting; changes?: Partial<Service>; lookedFor?: Milliseconds | null; before?: Proof | null } = {},
) {
  const looks: { readonly fingerprint: string; readonly timeout: Milliseconds; readonly inDoubt: boolean }[] = [];
  const prove: Prove = (_target, fingerprint, { timeout, inDoubt = false }) => {
    looks.push({ fingerprint, timeout, inDoubt });
    return Promise.resolve(sighting);
  };
  const looking = { prove, now: () => NOW, lookedFor, before };
  const verdict = await proveService(service(changes), serviceFacts(facts), generation(), looking, signal);
  return { ...verdict, looks };
}

test("a service that serves the leaf is proven, with who answered and when", async () => {
  const { proof, failure, looks } = await verdictOf({}, { sighting: { served: true } });

  expect(failure).toBeUndefined();
  expect(proof).toEqual({
    type: "nginx",
    fingerprint: generation().fingerprint,
    generation: 3,
    at: NOW,
    address: "127.0.0.1:443",
    proven: true,
    code: null,
  });
  expect(looks[0]?.fingerprint).toBe(generation().fingerprint);
});

test("a service that was seen to serve another leaf is in doubt, and one that was down or told of another generation not", async () => {
  const stale: Proof = {
    type: "nginx",
    fingerprint: "0".repeat(64),
    generation: 3,
    at: NOW,
    address: null,
    proven: false,
    code: "SERVICE_STALE",
  };
  const inDoubt = async (changes: Partial<Proof>): Promise<boolean | undefined> =>
    (await verdictOf({}, { sighting: { served: true }, before: { ...stale, ...changes } })).looks[0]?.inDoubt;

  expect(await inDoubt({})).toBe(true);
  expect(await inDoubt({ generation: 2 })).toBe(false);
  expect(await inDoubt({ fingerprint: null, code: "SERVICE_DOWN" })).toBe(false);
});

test("a service that serves another leaf is stale, and the hint asks for its files and its address", async () => {
  const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate at 127.0.0.1:443: another one is served");

  const verdict = await verdictOf({}, { sighting: { served: false, failure, other: undefined } });

  expect(verdict.proof).toMatchObject({ proven: false, fingerprint: null });
  expect(verdict.failure).toMatchObject({
    code: "SERVICE_STALE",
    message: failure.message,
    hint: "does nginx read the files that the spec names? Are connect: and server_name: of its probe the right ones?",
  });
});

const down: Sighting = { served: false, failure: new AgentError("SERVICE_DOWN", "it is down"), other: undefined };
const stale: Sighting = { served: false, failure: new AgentError("SERVICE_STALE", "another one"), other: undefined };

test.each([
  ["serve it", [{ served: true }, { served: true }], { proven: true, address: "127.0.0.1:5432, 127.0.0.1:5433" }],
  [
    "serve it, of which one has another",
    [{ served: true }, stale],
    { code: "SERVICE_STALE", address: "127.0.0.1:5433" },
  ],
  ["are down or have another", [down, stale], { code: "SERVICE_STALE", address: "127.0.0.1:5433" }],
  ["serve it or are down", [down, { served: true }], { proven: true, address: "127.0.0.1:5433" }],
  ["are down", [down, down], { code: "SERVICE_DOWN", address: "127.0.0.1:5432" }],
] as const)("of a service that is several servers which %s", async (_, sightings, proof) => {
  const target = { starttls: "postgres", serverName: null, timeout: MINUTE };
  const [first, second] = [5432, 5433].map((port) => ({ host: "127.0.0.1", port })) as [Address, Address];
  const prove: Prove = (place) => Promise.resolve(sightings[addressText(place.address).endsWith("5433") ? 1 : 0]);
  const facts = serviceFacts({ probe: { ...target, address: first, besides: [second] } });
  const looking = { prove, now: () => NOW, lookedFor: null, before: null };

  const verdict = await proveService(service({}), facts, generation(), looking, signal);

  expect(verdict.proof).toMatchObject({ proven: !("code" in proof), code: null, ...proof });
  expect(verdict.failure?.code ?? null).toBe(verdict.proof.code);
});

test("a service that answers although its unit does not run: the hint asks who that is", async () => {
  const failure = new AgentError("SERVICE_STALE", "Cannot see the certificate at 127.0.0.1:443: another one is served");

  const verdict = await verdictOf({ liveness: "down" }, { sighting: { served: false, failure, other: undefined } });

  expect(verdict.failure?.hint).toBe(
    "nginx does not run, and yet something answers there: what is it, and is unit: the right one?",
  );
});

test("a service that nobody answers for is down, and the hint asks whether that is the right address", async () => {
  const failure = new AgentError("SERVICE_DOWN", "Cannot connect to 127.0.0.1:443: connection refused");

  const verdict = await verdictOf({}, { sighting: { served: false, failure, other: undefined } });

  expect(verdict.failure).toMatchObject({
    code: "SERVICE_DOWN",
    message: failure.message,
    hint: "its files are in place; it is looked at again by itself. If it runs, is the probe's address the right one, or will it listen there only once somebody reloads it?",
  });
});

test("a socket that is not seen although its service runs: the hint names the agent's sandbox", async () => {
  const failure = new AgentError("SERVICE_DOWN", "Cannot connect: no such socket");
  const hintOf = async (path: string, liveness: ServiceFacts["liveness"]) => {
    const probe = { address: { path }, starttls: "tls", serverName: null, timeout: 5000 };
    return (await verdictOf({ probe, liveness }, { sighting: { served: false, failure, other: undefined } })).failure
      ?.hint;
  };

  expect(await hintOf("/run/web.sock", "up")).toContain("BindReadOnlyPaths=");
  expect(await hintOf("/var/run/web.sock", "up")).toContain("BindReadOnlyPaths=");
  expect(await hintOf("/run/web.sock", "down")).toContain("its files are in place");
  expect(await hintOf("/var/lib/web/web.sock", "up")).toContain("is the probe's address the right one");
});

test("a unit is called by its name: not systemd is what does not run", async () => {
  const changes = { type: "systemd", called: "kafka" };

  const { failure } = await verdictOf({ probe: null, liveness: "down" }, { changes });

  expect(failure).toMatchObject({
    message: "Cannot prove kafka: it is not running",
    hint: "its files are in place; it is looked at again by itself",
  });
});

test("a hint that the probe gives is the one that is told", async () => {
  const failure = new AgentError("SERVICE_DOWN", "Cannot connect", { hint: "open the port" });

  expect((await verdictOf({}, { sighting: { served: false, failure, other: undefined } })).failure?.hint).toBe(
    "open the port",
  );
});

test.each([
  { title: "right after a reload", facts: {}, lookedFor: 0, timeout: 30_000 },
  { title: "of whose time a part is over", facts: {}, lookedFor: 10_000, timeout: 20_000 },
  { title: "whose time is over", facts: {}, lookedFor: 30_001, timeout: 5000 },
  { title: "at other times", facts: {}, lookedFor: null, timeout: 5000 },
  { title: "that is down, although just reloaded", facts: { liveness: "down" }, lookedFor: 0, timeout: 5000 },
  { title: "that is not installed", facts: { liveness: "absent" }, lookedFor: 0, timeout: 5000 },
] as const)("a service $title is looked at for $timeout ms", async ({ facts, lookedFor, timeout }) => {
  const { looks } = await verdictOf(facts, { lookedFor, sighting: { served: true } });

  expect(looks.map((look) => look.timeout)).toEqual([timeout]);
});

test("a service that may take longer than one look is not proven yet, and has not failed until its time is over", async () => {
  const failure = new AgentError("SERVICE_STALE", "another one is served");
  const slow = { changes: { timeout: MINUTE }, sighting: { served: false, failure, other: undefined } } as const;

  const [first, last] = [
    await verdictOf({}, { ...slow, lookedFor: 0 }),
    await verdictOf({}, { ...slow, lookedFor: 30_000 }),
  ];

  expect([first, last].map(({ looks, isPending }) => [looks[0]?.timeout, isPending])).toEqual([
    [30_000, true],
    [30_000, false],
  ]);
});

const done = { generation: 3, at: NOW, failure: null };
const failed = {
  generation: 3,
  at: NOW,
  failure: { code: "RELOAD_FAILED", message: "no", hint: null, retryAt: null },
} as const;

const unseen = { code: "SERVICE_UNSEEN", message: "QUIC alone", hint: "write probe:", retryAt: null } as const;

interface Unprobed {
  readonly title: string;
  readonly facts: Partial<ServiceFacts>;
  readonly passive?: boolean;
  readonly code: string | undefined;
  readonly message?: string;
}

const unprobed: readonly Unprobed[] = [
  { title: "a reload that ended well and a unit that is up", facts: { reloaded: done }, code: undefined },
  { title: "nothing that would have to be run", facts: { reloaded: null }, passive: true, code: undefined },
  {
    title: "a unit that is down",
    facts: { reloaded: done, liveness: "down" },
    code: "SERVICE_DOWN",
    message: "Cannot prove nginx: it is not running",
  },
  {
    title: "a unit that is not installed",
    facts: { reloaded: null, liveness: "absent" },
    code: "SERVICE_DOWN",
    message: "Cannot prove nginx: it is not installed",
  },
  {
    title: "a reload that failed",
    facts: { reloaded: failed },
    code: "SERVICE_STALE",
    message: "Cannot prove nginx: it has not taken the new files",
  },
  {
    title: "a reload of an older generation",
    facts: { reloaded: { ...done, generation: 2 } },
    code: "SERVICE_STALE",
    message: "Cannot prove nginx: it has not taken the new files",
  },
  {
    title: "no reload at all",
    facts: { reloaded: null },
    code: "SERVICE_STALE",
    message: "Cannot prove nginx: it has not taken the new files",
  },
  {
    title: "a reload that ended well, where it shows others a certificate that nobody can look at,",
    facts: { reloaded: done, unseen },
    code: "SERVICE_UNSEEN",
    message: unseen.message,
  },
  {
    title: "a unit that is down and could not be looked at if it ran",
    facts: { reloaded: done, liveness: "down", unseen },
    code: "SERVICE_DOWN",
  },
];

test.each(unprobed)("without a probe, $title gives $code", async ({ facts, passive = false, code, message }) => {
  const { proof, failure, looks } = await verdictOf({ ...facts, probe: null }, { changes: { passive } });

  expect(failure?.code).toBe(code);
  if (message !== undefined) expect(failure?.message).toBe(message);
  expect(proof).toMatchObject({ proven: code === undefined, fingerprint: null, address: null });
  expect(looks).toEqual([]);
});
