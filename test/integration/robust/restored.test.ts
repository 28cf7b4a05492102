/** A state folder that knows less than the outputs: a backup of it was put back, or a disk has damaged it. */
import { execFile } from "node:child_process";
import { readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, test } from "vitest";
import { HOUR, pause, SECOND } from "../../../src/base/time.ts";
import { startDevCa } from "../../../src/devca/devca.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { certagent, type Home, startAgent } from "../../servers/program.ts";
import { WAYS, type Way } from "../../servers/ways.ts";
import { isCurrent, leafIn } from "../walk/look.ts";
import { homeAt } from "./home.ts";

const execute = promisify(execFile);
const SHORT = 10 * SECOND;
const backupOf = ({ folder }: Home): string => join(folder, "backup");
const agentsOf = ({ state, runtime }: Home) => layoutOf(state, runtime).agent;

const LOSSES = {
  "of which a backup was put back": async (home: Home) => {
    await rm(home.state, { recursive: true });
    await rename(backupOf(home), home.state);
  },
  "of which the agent's half was put back": async (home: Home) => {
    const { folder } = agentsOf(home);
    await rm(folder, { recursive: true });
    await rename(join(backupOf(home), "agent"), folder);
  },
  "whose newest generations are zeros": async (home: Home) => {
    const folder = agentsOf(home).generations("web");
    const newer = (await readdir(folder)).filter((name) => name !== "1.json");
    for (const name of newer) await writeFile(join(folder, name), Buffer.alloc(2048));
  },
};

describe.each(Object.values<Way>(WAYS))("$name: a state folder", { concurrent: true }, (way) => {
  test.for(Object.entries(LOSSES))(
    "%s leaves a valid pair in force, without CA and secret",
    async ([, lose], { expect }) => {
      await using ca = await startDevCa({ policy: { backdate: 0, shortest: SECOND } });
      await using home = await homeAt(ca, way.user);
      const file = join(home.folder, "web.pem");
      await home.write(
        "web",
        JSON.stringify({ subject: "web.internal", outputs: [{ format: "combined", path: file }] }),
      );
      await using _beside = await way.prepare(home);
      ca.faults.leaf = { lifetime: SHORT };
      {
        await using agent = await startAgent(home, way.agent);
        await agent.until("it is current", (all) => isCurrent(all.get("web")));
        ca.faults.leaf = { lifetime: HOUR };
        await agent.stop();
        await execute("cp", ["-a", home.state, backupOf(home)]);
      }
      {
        await using agent = await startAgent(home, way.agent);
        await certagent(home, "renew", "web");
        await agent.stop();
      }
      const newer = await leafIn(file);
      const mints = (): number => ca.requests.filter(({ path }) => path === "/sign").length;
      const minted = mints();
      await rm(join(home.folder, "jwk"));
      await pause(SHORT);
      await lose(home);
      await ca.stop();

      await using agent = await startAgent(home, way.agent);
      await agent.until("it is current", (all) => isCurrent(all.get("web")));
      expect(await leafIn(file)).toBe(newer);

      await ca.start();
      expect(await certagent(home, "renew", "web")).toMatchObject({ code: 0 });
      expect(mints()).toBe(minted);
    },
  );
});
