import { Socket } from "node:net";
import { expect, test } from "vitest";
import { createCoalesce } from "../../../src/apply/coalesce.ts";
import { reload, type ServiceHost, type ServiceTask } from "../../../src/apply/services/actions.ts";
import { openServiceWatch } from "../../../src/apply/services/watch.ts";
import { createTurns } from "../../../src/apply/turns.ts";
import type { Connect } from "../../../src/base/connect.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { systemClock } from "../../../src/base/time.ts";
import type { Address, Desired, Liveness, ReloadContext, Service } from "../../../src/core/ports.ts";
import { targetAt } from "../../../src/services/recipe.ts";
import { desiredIn, never, shellService } from "../../integration/apply/harness.ts";
import { system } from "../../servers/service.ts";

test("a reload that is to start what fell starts it, although another spec's plain reload joins it", async () => {
  const contexts: ReloadContext[] = [];
  const service = shellService({
    reload: async (_system, context) => {
      contexts.push(context);
      return undefined;
    },
  });
  const host = {
    system,
    log: { info: () => {} },
    reloads: createCoalesce(systemClock),
    revivals: new Set(),
    turns: createTurns(),
  } as unknown as ServiceHost;
  const task = (name: string): ServiceTask =>
    ({ host, desired: desiredIn("/srv", { name }), generation: { number: 1 }, did: () => {}, signal: never }) as never;

  await Promise.all([
    reload(task("fallen"), service, { before: "down", revive: true }),
    reload(task("other"), service, { before: "down", revive: false }),
  ]);
  await reload(task("other"), service, { before: "down", revive: false });

  expect(contexts.map(({ revive }) => revive)).toEqual([true, false]);
});

test("one command at two addresses: that one answers does not make the other one up", async () => {
  const at = (port: number): Service => ({
    ...shellService({ key: "command" }),
    probe: targetAt({ host: "127.0.0.1", port }),
    liveness: async () => "unknown",
  });
  const connect: Connect = async (to, name) => {
    if ("port" in to && to.port === 443) return new Socket();
    throw new AgentError("SERVICE_DOWN", `Cannot connect to ${name}: connection refused`);
  };
  const watch = openServiceWatch({ ...system, connect });
  const spec = (name: string): Desired => desiredIn("/srv", { name });

  expect(await watch.liveness(spec("up"), at(443), never)).toBe("up");
  expect(await watch.liveness(spec("down"), at(8443), never)).toBe("down");
  expect(await watch.liveness(spec("up"), at(8443), never)).toBe("down");
});

test("a service of several servers runs where one of them does", async () => {
  const [up, down] = [443, 8443].map((port) => ({ host: "127.0.0.1", port })) as [Address, Address];
  const connect: Connect = async (to, name) => {
    if (to === up) return new Socket();
    throw new AgentError("SERVICE_DOWN", `Cannot connect to ${name}: connection refused`);
  };
  const watch = openServiceWatch({ ...system, connect });
  const livenessOf = (first: Address, ...besides: readonly Address[]): Promise<Liveness> =>
    watch.livenessNow(
      desiredIn("/srv"),
      shellService({ probe: { ...targetAt(first), besides }, liveness: async () => "unknown" }),
      never,
    );

  expect(await livenessOf(down, up)).toBe("up");
  expect(await livenessOf(up, down)).toBe("up");
  expect(await livenessOf(down, down)).toBe("down");
});
