import { expect, test } from "vitest";
import { semaphores } from "../../../src/base/semaphore.ts";

/** A call that runs until it is told to end, and keeps its name in `log` when it begins. */
function heldCall(log: string[], name: string) {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const call = (): Promise<string> => {
    log.push(name);
    return promise;
  };
  return { call, end: () => resolve(name), fail: (error: Error) => reject(error) };
}

const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("no more calls of one key run at one time than there are places, the others begin in order", async () => {
  const log: string[] = [];
  const take = semaphores(2);
  const [a, b, c, d] = [heldCall(log, "a"), heldCall(log, "b"), heldCall(log, "c"), heldCall(log, "d")];
  const all = [a, b, c, d].map(({ call }) => take("ca", call));

  await settle();
  expect(log).toEqual(["a", "b"]);

  b.end();
  await settle();
  expect(log).toEqual(["a", "b", "c"]);

  a.end();
  c.end();
  d.end();
  expect(await Promise.all(all)).toEqual(["a", "b", "c", "d"]);
});

test("a call that fails gives its place back", async () => {
  const log: string[] = [];
  const take = semaphores(1);
  const [first, second] = [heldCall(log, "first"), heldCall(log, "second")];
  const failing = take("ca", first.call);
  const waiting = take("ca", second.call);

  first.fail(new Error("no"));
  second.end();

  await expect(failing).rejects.toThrow("no");
  expect(await waiting).toBe("second");
  expect(await take("ca", () => Promise.resolve("third"))).toBe("third");
});

test("calls of one key do not wait for those of another", async () => {
  const log: string[] = [];
  const take = semaphores(1);
  const stuck = heldCall(log, "stuck");
  const waiting = take("silent", stuck.call);

  expect(await take("good", () => Promise.resolve("done"))).toBe("done");

  stuck.end();
  await waiting;
});

test("who has lost patience is not called, and the others keep their turns", async () => {
  const log: string[] = [];
  const take = semaphores(1);
  const [first, second, third] = [heldCall(log, "first"), heldCall(log, "second"), heldCall(log, "third")];
  const patience = Promise.withResolvers<void>();
  const working = take("ca", first.call);
  const impatient = take("ca", second.call, () => patience.promise);
  let isOver: AbortSignal | undefined;
  const patient = take("ca", third.call, (over) => {
    isOver = over;
    return new Promise(() => {});
  });

  patience.resolve();
  expect(await impatient).toBeUndefined();
  expect(isOver?.aborted).toBe(false);
  first.end();
  third.end();

  expect(await working).toBe("first");
  expect(await patient).toBe("third");
  expect(isOver?.aborted).toBe(true);
  expect(log).toEqual(["first", "third"]);
});
