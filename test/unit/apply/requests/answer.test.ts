import { expect, test } from "vitest";
import type { RecoveringApplier } from "../../../../src/apply/applier.ts";
import { createAnswerer } from "../../../../src/apply/requests/answer.ts";
import { MINUTE, pause, systemClock } from "../../../../src/base/time.ts";
import type { Request } from "../../../../src/store/requests.ts";
import { makeHost, NAME } from "../../../integration/apply/harness.ts";

/** A root side that is told to stop while it looks at a spec: what it sees then says nothing of that. */
async function stopped(host: Awaited<ReturnType<typeof makeHost>>, request: Request): Promise<unknown> {
  const stop = new AbortController();
  const looking = Promise.withResolvers<void>();
  const real = await host.open();
  const look: RecoveringApplier["look"] = async (name, signal) => {
    looking.resolve();
    await pause(MINUTE, signal);
    return await real.look(name, signal);
  };
  const answering = createAnswerer({ ...real, look }, systemClock)({ request, askedAt: 0 }, stop.signal);
  await looking.promise;
  stop.abort();
  return await answering;
}

test.each<Request>([{ kind: "observe" }, { kind: "look", spec: NAME }])(
  "a look that a stop cuts off is no answer to %j, which the next root side is asked",
  async (request) => {
    await using host = await makeHost();

    await expect(stopped(host, request)).rejects.toThrow("aborted");
  },
);

test("what was applied is told though a stop cuts off the look after it, of which nothing is told", async () => {
  await using host = await makeHost();
  const { number } = await host.issue();

  const answer = await stopped(host, { kind: "apply", spec: NAME, again: [] });

  expect(answer).toMatchObject({ report: { deployed: number, failure: null }, observed: null });
});
