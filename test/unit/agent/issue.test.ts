import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { issue } from "../../../src/agent/issue.ts";
import { AgentError, type ErrorCode, failureOf } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/base/time.ts";
import type { Generation, Issued, Issuer, Order } from "../../../src/core/ports.ts";
import { type Generations, openGenerations } from "../../../src/store/generations.ts";
import { generateKey, type KeyAlgorithm } from "../../../src/x509/key.ts";
import { makePki, type Pki } from "../../servers/pki.ts";
import { desired, request } from "../core/given.ts";

let pki: Pki;
beforeAll(async () => {
  pki = await makePki();
});

const signal = new AbortController().signal;
const uncounted = async (): Promise<void> => {};

/** A CA that remembers its orders and answers as told. */
function issuerOf(answer: (order: Order) => Promise<Issued>): Issuer & { readonly orders: readonly Order[] } {
  const orders: Order[] = [];
  return {
    name: "internal",
    type: "model",
    orders,
    roots: () => Promise.resolve(pki.roots),
    anchors: () => Promise.resolve(pki.roots),
    holdsSecret: () => false,
    noneWaits: () => {},
    secretSince: () => Promise.resolve(null),
    removeUsed: async () => {},
    issue: (order) => {
      orders.push(order);
      return answer(order);
    },
  };
}

const obedient = async ({ request: { names }, key }: Order): Promise<Issued> => {
  const now = systemClock.now();
  const { chain } = await pki.issue({ names, key, notBefore: now - 1000, notAfter: now + 3_600_000 });
  return { chain, roots: pki.roots, via: "token", failedRungs: [] };
};

async function issueWith(
  issuer: Issuer,
  generations: Generations,
  {
    current,
    rotate = false,
    renewal = true,
    key = null,
  }: { current?: Generation; rotate?: boolean; renewal?: boolean; key?: KeyAlgorithm | null } = {},
): Promise<Generation> {
  const order = { desired: desired({ rotate, request: { ...request, key } }), current, renewal, after: null };
  return issue(order, { issuer, generations, now: systemClock.now }, uncounted, signal);
}

async function folder() {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-issue-"));
  return { generations: openGenerations(join(home.path, "web")), [Symbol.asyncDispose]: home.remove };
}

test("the key is on disk before its request leaves the host, and is no longer pending once the chain is", async () => {
  await using state = await folder();
  const pendingWhenAsked: (string | undefined)[] = [];
  const issuer = issuerOf(async (order) => {
    pendingWhenAsked.push((await state.generations.pendingKey())?.keyId);
    return obedient(order);
  });

  const generation = await issueWith(issuer, state.generations);

  expect(pendingWhenAsked).toEqual([generation.key.keyId]);
  expect(await state.generations.pendingKey()).toBeUndefined();
  expect((await state.generations.read(1)).key.keyId).toBe(generation.key.keyId);
});

test("where only the old key's leaf could be renewed, that is the next generation's key", async () => {
  await using state = await folder();
  const current = await issueWith(issuerOf(obedient), state.generations);
  const issuer = issuerOf(async (order) => {
    return { ...(await obedient({ ...order, key: order.current?.key ?? order.key })), keepsKey: true };
  });

  const generation = await issueWith(issuer, state.generations, { current, rotate: true });

  expect(issuer.orders[0]?.key.keyId).not.toBe(current.key.keyId);
  expect(generation.key.keyId).toBe(current.key.keyId);
  expect((await state.generations.read(2)).key.keyId).toBe(current.key.keyId);
});

test("a request whose answer was lost is repeated with the same key", async () => {
  await using state = await folder();
  const deaf = issuerOf(() => Promise.reject(new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: reset")));
  await expect(issueWith(deaf, state.generations)).rejects.toThrow("Cannot reach the CA");
  const heard = issuerOf(obedient);

  const generation = await issueWith(heard, state.generations);

  expect(generation.key.keyId).toBe(deaf.orders[0]?.key.keyId);
});

test("a key of a kind that the spec names no more is not asked for again", async () => {
  await using state = await folder();
  const silent = issuerOf(() => Promise.reject(new AgentError("ISSUER_UNREACHABLE", "gone")));
  await issueWith(silent, state.generations, { key: "ec-p384" }).catch(() => {});

  const { key } = await issueWith(issuerOf(obedient), state.generations);

  expect(key.algorithm).toBe("ec-p256");
});

test("a renewal keeps the key and shows the pair that it replaces", async () => {
  await using state = await folder();
  const issuer = issuerOf(obedient);
  const first = await issueWith(issuer, state.generations);

  const second = await issueWith(issuer, state.generations, { current: first });

  expect(second.number).toBe(2);
  expect(second.key.keyId).toBe(first.key.keyId);
  expect(issuer.orders[1]?.current).toBe(first);
});

test("a rotated key is a new one, although the old pair authorises the request", async () => {
  await using state = await folder();
  const issuer = issuerOf(obedient);
  const first = await issueWith(issuer, state.generations);

  const second = await issueWith(issuer, state.generations, { current: first, rotate: true });

  expect(second.key.keyId).not.toBe(first.key.keyId);
  expect(issuer.orders[1]?.current?.key.keyId).toBe(first.key.keyId);
});

test.each([
  ["rsa-2048", "ec-p256"],
  [null, "rsa-2048"],
] as const)("where the spec names no key and named %s before, an RSA key becomes %s", async (named, kind) => {
  await using state = await folder();
  const issuer = issuerOf(obedient);
  const before = await issueWith(issuer, state.generations, { key: "rsa-2048" });

  const current = { ...before, request: { ...request, key: named } };
  const after = await issueWith(issuer, state.generations, { current, renewal: false });

  expect(after.key.algorithm).toBe(kind);
});

test("a changed request is not asked for as a renewal", async () => {
  await using state = await folder();
  const issuer = issuerOf(obedient);
  const first = await issueWith(issuer, state.generations);

  await issueWith(issuer, state.generations, { current: first, renewal: false });

  expect(issuer.orders[1]?.current).toBeUndefined();
});

test("an issuance is on record before its chain is judged, refused or not", async () => {
  await using state = await folder();
  const wrong = issuerOf(async ({ key }) => ({ ...(await obedient({ request, key })), ...(await strangers()) }));
  let recorded = false;
  const record = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    recorded = true;
  };
  const order = { desired: desired(), current: undefined, renewal: false, after: null };

  const issuing = issue(order, { issuer: wrong, generations: state.generations, now: systemClock.now }, record, signal);

  await expect(issuing).rejects.toMatchObject({ code: "CHAIN_UNUSABLE" });
  expect(recorded).toBe(true);
  expect(await state.generations.list()).toEqual([]);
});

const rung = (code: ErrorCode): AgentError => new AgentError(code, `Cannot renew: ${code}`);

test.each<[string, AgentError, number[]]>([
  ["no answer of no use", rung("ISSUER_UNREACHABLE"), []],
  ["one", rung("CHAIN_UNUSABLE"), [1]],
  ["one and a rung that was refused", summaryOf("CHAIN_UNUSABLE", "CREDENTIAL_MISSING"), [1]],
  ["two", summaryOf("CHAIN_UNUSABLE", "ISSUER_REJECTED", "CHAIN_UNUSABLE"), [2]],
])("a failed attempt with %s counts as so many issuances", async (_, error, counted) => {
  await using state = await folder();
  const told: number[] = [];
  const record = async (issuances: number): Promise<void> => void told.push(issuances);
  const issuer = issuerOf(() => Promise.reject(error));
  const order = { desired: desired(), current: undefined, renewal: false, after: null };

  const issuing = issue(order, { issuer, generations: state.generations, now: systemClock.now }, record, signal);

  await expect(issuing).rejects.toBe(error);
  expect(told).toEqual(counted);
});

test("a renewal of no use counts beside the issuance that followed it", async () => {
  await using state = await folder();
  const told: number[] = [];
  const record = async (issuances: number): Promise<void> => void told.push(issuances);
  const failedRungs = [failureOf(rung("CHAIN_UNUSABLE")), failureOf(rung("ISSUER_REJECTED"))];
  const issuer = issuerOf(async (order) => ({ ...(await obedient(order)), failedRungs }));
  const order = { desired: desired(), current: undefined, renewal: false, after: null };

  await issue(order, { issuer, generations: state.generations, now: systemClock.now }, record, signal);

  expect(told).toEqual([2]);
});

function summaryOf(...codes: readonly ErrorCode[]): AgentError {
  return new AgentError("CHAIN_UNUSABLE", "Cannot renew", { cause: new AggregateError(codes.map(rung)) });
}

async function strangers(): Promise<Pick<Issued, "chain">> {
  return { chain: (await pki.issue({ key: await generateKey("ec-p256") })).chain };
}
