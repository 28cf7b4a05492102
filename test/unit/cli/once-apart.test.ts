import { mkdtempDisposable } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { ownGid, ownUid } from "../../../src/base/accounts.ts";
import { run } from "../../../src/base/run.ts";
import { systemClock } from "../../../src/base/time.ts";
import { parseInvocation } from "../../../src/cli/arguments.ts";
import type { World } from "../../../src/cli/command.ts";
import { once } from "../../../src/cli/once.ts";
import { onceApart } from "../../../src/cli/once-apart.ts";
import { createPrint } from "../../../src/cli/print.ts";
import { layoutOf } from "../../../src/store/layout.ts";

test("a stop that comes before the agent's half is started ends that, too", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-apart-"));
  const place = (name: string): string => join(home.path, name);
  const layout = layoutOf(place("state"), place("run"));
  const channel = { write: () => {}, isTerminal: false, isColoured: false, size: () => undefined };
  const world: World = {
    env: {},
    clock: systemClock,
    run,
    print: createPrint(channel, channel),
    signals: { listen: (handler) => handler("SIGTERM"), stop: AbortSignal.abort() }, // it came before anybody listened
    uid: ownUid(),
    log: { isTerminal: false, isColoured: false },
    program: ["/bin/sh", "-c", "exec sleep 600"],
    modes: { direct: { name: "direct", apart: "broker", open: () => Promise.reject(new Error("is not asked")) } },
    unread: new AbortController().signal,
  };
  const options = {
    config: place("certagent.yaml"),
    specs: place("specs"),
    state: place("state"),
    runtime: place("run"),
  };
  const invocation = parseInvocation(
    once,
    Object.entries(options).map(([name, value]) => `--${name}=${value}`),
  );
  const log = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} };

  const code = await onceApart({ uid: ownUid(), gid: ownGid() }, invocation, world, layout, {
    log,
    passOn: () => {},
    [Symbol.asyncDispose]: async () => {},
  });

  expect(code).toBe(1);
});
