import { expect, test } from "vitest";
import { oneForAll } from "../../../src/base/one-for-all.ts";

/** A call whose ends are the test's, and how many have begun. */
function calls() {
  const begun: PromiseWithResolvers<string>[] = [];
  const ask = oneForAll(async () => {
    const call = Promise.withResolvers<string>();
    begun.push(call);
    return await call.promise;
  });
  return { ask, begun };
}

test("all who come while a call is under way share the next, which begins when that one has ended", async () => {
  const { ask, begun } = calls();
  const first = ask();
  await expect.poll(() => begun.length).toBe(1);

  const [second, third] = [ask(), ask()];
  await new Promise(setImmediate);
  expect(begun).toHaveLength(1);
  begun[0]?.resolve("old");
  await expect.poll(() => begun.length).toBe(2);
  begun[1]?.resolve("new");

  expect(await Promise.all([first, second, third])).toEqual(["old", "new", "new"]);
});

test("who comes when one has begun does not get its answer, even if nobody else asks", async () => {
  const { ask, begun } = calls();
  void ask();
  await expect.poll(() => begun.length).toBe(1);
  const late = ask();
  begun[0]?.resolve("old");
  await expect.poll(() => begun.length).toBe(2);
  begun[1]?.resolve("new");

  expect(await late).toBe("new");
});

test("a call that fails fails for those who share it, and the next is made all the same", async () => {
  const { ask, begun } = calls();
  const first = ask();
  await expect.poll(() => begun.length).toBe(1);
  const second = ask();
  begun[0]?.reject(new Error("away"));
  await expect(first).rejects.toThrow("away");
  await expect.poll(() => begun.length).toBe(2);
  begun[1]?.resolve("new");

  expect(await second).toBe("new");
});
