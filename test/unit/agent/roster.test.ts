import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { expect, test, vi } from "vitest";
import { issuerCache } from "../../../src/agent/issuer-cache.ts";
import { openRoster } from "../../../src/agent/roster.ts";
import type { Log } from "../../../src/base/log.ts";
import { systemClock } from "../../../src/base/time.ts";
import { NO_FACTS } from "../../../src/core/facts.ts";
import type { OwnersOf } from "../../../src/spec/folder.ts";
import { writeFacts } from "../../../src/store/facts.ts";
import { layoutOf } from "../../../src/store/layout.ts";

const unexpected = () => {
  throw new Error("there is nothing to make");
};

const silent = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} };

/** A roster that reads no spec, and the readings that have begun and not ended. */
function rosterIn(folder: string, log: Log = silent) {
  let owners: OwnersOf = unexpected;
  const begun: PromiseWithResolvers<void>[] = [];
  const roster = openRoster({
    clock: systemClock,
    log,
    layout: layoutOf(folder, folder),
    specs: {
      read: async (context) => {
        owners = context.owners;
        const reading = Promise.withResolvers<void>();
        begun.push(reading);
        await reading.promise;
        return { host: undefined, specs: new Map(), problems: [], isSound: true };
      },
    },
    issuers: issuerCache(unexpected),
    manage: unexpected,
  });
  return { begun, roster, owners: (...names: readonly string[]) => owners(names) };
}

test("a storm of readings that are asked for while one is under way is one more reading, which begins after it", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-roster-`);
  const { begun, roster } = rosterIn(home.path);

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

test("a reading that does not end, as where a file system hangs, is told of until it does", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-roster-`);
  const lines: string[] = [];
  const tell = (message: string, fields: object = {}): void => void lines.push(`${message}: ${JSON.stringify(fields)}`);
  const { begun, roster } = rosterIn(home.path, { ...silent, warning: tell, info: tell });
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "Date"] });
  try {
    const reading = roster.reread();
    await vi.advanceTimersByTimeAsync(30_000);
    await vi.waitFor(() => expect(begun).toHaveLength(1));

    expect(lines).toEqual([expect.stringMatching(/^configuration problem: .*not ended within half a minute.*findmnt/)]);
    expect(roster.problems()).toEqual([expect.stringContaining("cannot be read")]);
    begun[0]?.resolve();
    await reading;
  } finally {
    vi.useRealTimers();
  }

  expect(lines.at(-1)).toMatch(/^configuration problem is over: .*cannot be read/);
  expect(roster.problems()).toEqual([]);
});

test("who has deployed a path is known after a restart, whatever thousands of specs there were before", async () => {
  await using home = await mkdtempDisposable(`${tmpdir()}/certagent-roster-`);
  const { agent } = layoutOf(home.path, home.path);
  await writeFacts(agent.facts("web"), { ...NO_FACTS, deployed: ["/etc/web.crt"] });
  for (let number = 0; number < 5000; number++) await writeFile(agent.facts(`gone-${number}`), "");
  const { begun, roster, owners } = rosterIn(home.path);

  const reading = roster.reread();
  await expect.poll(() => begun.length).toBe(1);

  expect(await owners("mail", "web")).toEqual(new Map([["/etc/web.crt", "web"]]));
  begun[0]?.resolve();
  await reading;
});
