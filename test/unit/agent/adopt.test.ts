/** What the root side hands over is judged once more: it may be of another version of the spec, or of another process. */
import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { recall } from "../../../src/agent/memory.ts";
import { adopt, renewOrMint } from "../../../src/agent/obtain.ts";
import { systemClock } from "../../../src/base/time.ts";
import type { Adopted, Applier } from "../../../src/core/applier.ts";
import type { Issued, Issuer, Order } from "../../../src/core/ports.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { makePki, type Pki } from "../../servers/pki.ts";
import { desired } from "../core/given.ts";

const signal = new AbortController().signal;

async function adopting(pki: Pki, found: Adopted | undefined) {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-adopt-"));
  const told: string[] = [];
  const never = (): never => {
    throw new Error("was not to be asked");
  };
  const mint = async ({ request: { names }, key }: Order): Promise<Issued> => {
    const { chain } = await pki.issue({ names, key });
    return { chain, roots: pki.roots, via: "token", failedRungs: [] };
  };
  const applier: Applier = { observe: never, apply: never, failed: never, forget: never, adopt: async () => found };
  const world = {
    clock: systemClock,
    log: { debug: () => {}, info: () => {}, warning: (message: string) => void told.push(message), error: () => {} },
    layout: layoutOf(folder.path, folder.path),
    applier,
    prove: never,
    issuer: () => ({ roots: async () => pki.roots, issue: mint, holdsSecret: () => false }) as unknown as Issuer,
    issuing: never,
    isAwaited: never,
    clockSuspectFor: () => null,
  };
  const memory = await recall(world, desired(), null);
  await adopt(memory, signal);
  return { memory, told, [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose]() };
}

test("a pair that fits the spec becomes the first generation", async () => {
  const pki = await makePki();
  const { key, chain } = await pki.issue({ names: ["web.internal"] });
  await using adopted = await adopting(pki, { key, chain });

  expect(await adopted.memory.generations.list()).toEqual([1]);
  expect(adopted.memory.adoptionRefused).toBe(false);
});

test.each([
  ["of other names", async (pki: Pki) => pki.issue({ names: ["other.internal"] })],
  ["of another CA", async () => (await makePki("Other")).issue({ names: ["web.internal"] })],
])("a pair %s is refused, told of, and not kept", async (_, issue) => {
  const pki = await makePki();
  const { key, chain } = await issue(pki);
  await using refused = await adopting(pki, { key, chain });

  expect(await refused.memory.generations.list()).toEqual([]);
  expect(refused.memory.adoptionRefused).toBe(true);
  expect(refused.told).toEqual(["what stands at the outputs does not fit"]);
});

test("what was refused once is looked at again once a generation of certagent's own stood there", async () => {
  const pki = await makePki();
  const { key, chain } = await pki.issue({ names: ["other.internal"] });
  await using refused = await adopting(pki, { key, chain });

  await renewOrMint(
    refused.memory,
    { kind: "issue", because: "nothing was issued yet", by: "minting", base: null },
    signal,
  );

  expect(refused.memory.newest?.number).toBe(1);
  expect(refused.memory.adoptionRefused).toBe(false);
});
