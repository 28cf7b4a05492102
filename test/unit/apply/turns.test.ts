import { expect, test } from "vitest";
import { createTurns } from "../../../src/apply/turns.ts";

const tick = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test("files and commands of one service wait for each other, in the order in which they came", async () => {
  const turns = createTurns();
  const told: string[] = [];
  const begin = (name: string, kind: "files" | "command", keys: readonly string[]) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const done = turns(keys, kind, async () => {
      told.push(name);
      await promise;
    });
    return async () => {
      resolve();
      await done;
      await tick();
    };
  };

  const endFirst = begin("files of a", "files", ["nginx", "redis"]);
  const endSecond = begin("files of b", "files", ["nginx"]);
  const endCheck = begin("nginx -t", "command", ["nginx"]);
  const endThird = begin("files of c", "files", ["nginx"]);
  const endOther = begin("another service's", "command", ["postgresql"]);
  await tick();
  expect(told).toEqual(["files of a", "files of b", "another service's"]);

  await endFirst();
  expect(told).toHaveLength(3);
  await endSecond();
  expect(told.slice(3)).toEqual(["nginx -t"]);
  await endCheck();
  expect(told.slice(4)).toEqual(["files of c"]);
  await Promise.all([endThird(), endOther()]);
});

test("who fails has had its turn", async () => {
  const turns = createTurns();

  await expect(turns(["nginx"], "command", () => Promise.reject(new Error("no")))).rejects.toThrow("no");

  expect(await turns(["nginx"], "files", async () => "written")).toBe("written");
});

test("who waits for what hangs goes on after a while, and so does who waits for that one", async () => {
  const turns = createTurns(50);
  void turns(["mail"], "command", () => new Promise(() => {}));

  const files = turns(["mail", "nginx"], "files", async () => "written");
  const check = turns(["nginx"], "command", async () => "checked");

  expect(await Promise.all([files, check])).toEqual(["written", "checked"]);
});
