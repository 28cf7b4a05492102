import { expect, test } from "vitest";
import { lookUpGroup, lookUpUser } from "../../../src/base/accounts.ts";
import type { Run } from "../../../src/base/run.ts";

/** A host whose name service has one entry, and tells it whatever the spelling it is asked for. */
function knowing(entry: string): { readonly run: Run; readonly asked: (readonly string[])[] } {
  const asked: (readonly string[])[] = [];
  const run: Run = async (argv) => {
    asked.push(argv);
    return { exitCode: entry === "" ? 2 : 0, signal: null, timedOut: false, output: entry };
  };
  return { run, asked };
}

test("a directory's user is known by the name that the host's name service takes, however it spells it", async () => {
  const { run, asked } = knowing("alice@ad.example:*:10001:10000:Alice:/home/alice:/bin/bash\n");

  expect(await lookUpUser("Alice@AD.example", run)).toBe(10_001);
  expect(asked).toEqual([["getent", "passwd", "Alice@AD.example"]]);
  expect(await lookUpGroup("AD\\domain users", knowing("AD\\domain users:x:10000:\n").run)).toBe(10_000);
});

test("what /etc knows is not asked for elsewhere, and what nobody knows has no number", async () => {
  const { run, asked } = knowing("");

  expect(await lookUpUser("root", run)).toBe(0);
  expect(asked).toEqual([]);
  expect(await lookUpUser("nobody@nowhere.example", run)).toBeUndefined();
  expect(await lookUpGroup("strange", knowing("strange:x:\n").run)).toBeUndefined();
});
