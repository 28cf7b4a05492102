import { expect, test } from "vitest";
import { createCoalesce } from "../../../src/apply/coalesce.ts";
import type { Clock } from "../../../src/base/time.ts";

/** Sleeps pass as soon as everything else has run. */
function fastClock(): Clock {
  let now = 0;
  return {
    now: () => now,
    monotonic: () => now,
    sleepUntil: async (instant) => {
      await new Promise(setImmediate);
      now = Math.max(now, Math.min(instant, now + 100));
    },
  };
}

test("fifty requests within the quiet time are one run, and all have its outcome", async () => {
  const coalesce = createCoalesce<number>(fastClock());
  let runs = 0;

  const outcomes = await Promise.all(Array.from({ length: 50 }, () => coalesce("nginx", async () => (runs += 1))));

  expect(runs).toBe(1);
  expect(new Set(outcomes)).toEqual(new Set([1]));
});

test("a failure is the failure of all who joined", async () => {
  const coalesce = createCoalesce<void>(fastClock());
  const act = () => Promise.reject(new Error("no"));

  const outcomes = await Promise.allSettled([coalesce("nginx", act), coalesce("nginx", act)]);

  expect(outcomes.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
});

test("a request that comes while one runs gets the next run, never that one", async () => {
  const coalesce = createCoalesce<string>(fastClock());
  const { promise: gate, resolve: open } = Promise.withResolvers<void>();
  const { promise: begun, resolve: begin } = Promise.withResolvers<void>();
  const order: string[] = [];
  const first = coalesce("nginx", async () => {
    begin();
    await gate;
    order.push("first ended");
    return "first";
  });
  await begun;

  const second = coalesce("nginx", async () => {
    order.push("second began");
    return "second";
  });
  open();

  expect(await Promise.all([first, second])).toEqual(["first", "second"]);
  expect(order).toEqual(["first ended", "second began"]);
});

test("services of different keys do not wait for each other", async () => {
  const coalesce = createCoalesce<string>(fastClock(), 0);
  void coalesce("nginx", () => new Promise(() => {}));

  expect(await coalesce("redis", async () => "redis")).toBe("redis");
});

test("requests that never cease are run after two seconds at the latest", async () => {
  const clock = fastClock();
  const coalesce = createCoalesce<number>(clock);
  let ranAt: number | undefined;
  const act = async (): Promise<number> => (ranAt ??= clock.monotonic());

  const asking: Promise<number>[] = [];
  while (ranAt === undefined && clock.now() < 10_000) {
    asking.push(coalesce("nginx", act));
    await new Promise(setImmediate);
  }
  await Promise.all(asking);

  expect(ranAt).toBeLessThanOrEqual(2100);
});
