import { expect, test } from "vitest";
import { createInTime } from "../../../src/base/in-time.ts";
import { pause } from "../../../src/base/time.ts";

test("what takes too long is not waited for, nor begun again before it has ended", async () => {
  const inTime = createInTime(50);
  const slow = Promise.withResolvers<string>();
  let begun = 0;
  const work = (): Promise<string> => {
    begun += 1;
    return begun === 1 ? slow.promise : Promise.resolve("new");
  };

  expect(await inTime(work, "known")).toBe("known");
  expect(await inTime(work, "known")).toBe("known");
  expect(begun).toBe(1);
  slow.resolve("late");
  await pause(0);
  expect(await inTime(work, "known")).toBe("new");
});

test("what ends in time is answered, and fails as it does", async () => {
  const inTime = createInTime(1000);

  expect(await inTime(() => Promise.resolve(1), 0)).toBe(1);
  await expect(inTime(() => Promise.reject(new Error("gone")), 0)).rejects.toThrow("gone");
});
