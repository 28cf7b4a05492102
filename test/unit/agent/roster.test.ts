import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { issuerCache } from "../../../src/agent/issuer-cache.ts";
import { openRoster } from "../../../src/agent/roster.ts";
import { systemClock } from "../../../src/base/time.ts";
import { layoutOf } from "../../../src/store/layout.ts";

const unexpected = () => {
  throw new Error("there is nothing to make");
};

test("a storm of readings that are asked for while one is under way is one more reading, which begins after it", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-roster-`);
  const begun: PromiseWithResolvers<void>[] = [];
  const roster = openRoster({
    clock: systemClock,
    log: { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} },
    layout: layoutOf(home.path, home.path),
    specs: {
      read: async () => {
        const reading = Promise.withResolvers<void>();
        begun.push(reading);
        await reading.promise;
        return { host: undefined, specs: new Map(), problems: [], isSound: true };
      },
    },
    issuers: issuerCache(unexpected),
    manage: unexpected,
  });

  const first = roster.reread();
  await expect.poll(() => begun.length).toBe(1);
  const storm = Array.from({ length: 100 }, () => roster.reread());
  begun[0]?.resolve();
  await first;
  await expect.poll(() => begun.length).toBe(2);
  begun[1]?.resolve();
  await Promise.all(storm);

  expect(begun.length).toBe(2);
});
