import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import type { Desired } from "../../../src/core/ports.ts";
import { accessAt, leftovers, makeHost, NAME, never, pairAt } from "./harness.ts";

const execute = promisify(execFile);
const SCRIPT = join(import.meta.dirname, "../../kill/apply-and-die.ts");

/** How a process ended that was to die at its n-th change. */
async function applyAndDie(folder: string, layout: string, at: number): Promise<"killed" | "done"> {
  try {
    await execute(process.execPath, [SCRIPT, folder, layout, String(at)]);
    return "done";
  } catch (error) {
    const { signal, stderr } = error as { signal?: string; stderr?: string };
    if (signal === "SIGKILL") return "killed";
    throw new Error(stderr, { cause: error });
  }
}

/** Every one of them is met by every-call.test.ts without a process; here every third, with one. */
const STRIDE = 3;

test.each<Desired["layout"]>(["files", "link"])(
  "a process that dies by SIGKILL at its n-th change (layout: %s) leaves what the next one makes whole",
  async (layout) => {
    let killed = 0;
    for (let at = 1; ; at += STRIDE) {
      await using host = await makeHost({ layout }, { fast: true });
      await host.issue();
      await (await host.open()).apply(NAME, never);
      const old = pairAt(host);
      const { key, chain } = await host.issue();
      const next = { key: key.keyId, leaf: chain[0].fingerprint };
      const ending = await applyAndDie(host.folder, layout, at);
      if (ending === "done") break;
      killed += 1;
      if (layout === "link") expect([old, next], `change ${at}`).toContainEqual(pairAt(host));

      const applier = await host.open();
      await applier.recover();
      expect([old, next], `change ${at}`).toContainEqual(pairAt(host));
      await applier.apply(NAME, never);

      expect(pairAt(host), `change ${at}`).toEqual(next);
      expect(accessAt(host.path("web.key")).mode, `change ${at}`).toBe(0o600);
      expect(await leftovers(host), `change ${at}`).toEqual([]);
    }
    expect(killed).toBeGreaterThan(8);
  },
);
