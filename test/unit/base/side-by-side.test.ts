import { expect, test } from "vitest";
import { sideBySide } from "../../../src/base/side-by-side.ts";
import { pause } from "../../../src/base/time.ts";

test("no more than the places are at work at one time, and results are in the items' order", async () => {
  let atWork = 0;
  let most = 0;

  const results = await sideBySide(3, [5, 1, 4, 2, 3, 0, 6], async (item) => {
    most = Math.max(most, (atWork += 1));
    await pause(item);
    atWork -= 1;
    return item * 2;
  });

  expect(results).toEqual([10, 2, 8, 4, 6, 0, 12]);
  expect(most).toBe(3);
});

test("one that fails is told, and nothing is no work", async () => {
  expect(await sideBySide(3, [], pause)).toEqual([]);
  await expect(sideBySide(3, [1, 2], () => Promise.reject(new Error("no")))).rejects.toThrow("no");
});
