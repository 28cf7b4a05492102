import { readdir } from "node:fs/promises";
import { failureOf } from "../base/errors.ts";
import { sweepTemporaries } from "../base/sweep.ts";
import type { Desired } from "../core/ports.ts";
import type { StagedGenerations } from "../store/staged.ts";
import { accept } from "./accept.ts";
import { deployFiles } from "./deploy-files.ts";
import { makeOwnFolders } from "./folders.ts";
import type { Host } from "./host.ts";
import { finishIntent, removeIntent } from "./intent.ts";
import { readGeneration } from "./progress.ts";
import type { Records } from "./record.ts";
import { stagingFolders, sweep } from "./sweep.ts";
import { isTrue, targetsOf } from "./target.ts";

/**
 * What a killed process left: open intents are finished (from their staged files, else by deploying again), temporary
 * files removed. One spec that cannot be put right delays no other.
 */
export async function recover(
  host: Host,
  specs: ReadonlyMap<string, Desired>,
  records: Records,
  generations: (name: string) => StagedGenerations,
): Promise<void> {
  await makeOwnFolders(host);
  const open = (await readdir(host.layout.apply.intents)).filter((file) => /^[^.].*\.json$/.test(file));
  for (const name of open.map((file) => file.slice(0, -".json".length))) {
    try {
      await finish(host, name, specs.get(name), records, generations(name));
    } catch (error) {
      const { message, hint } = failureOf(error);
      host.log.warning("cannot finish a change that was cut off", { certificate: name, error: message, hint });
    }
  }
  await sweepTemporaries(host.layout.apply.folder, host.files);
  const all = await records.all();
  for (const name of new Set([...specs.keys(), ...all.keys()])) {
    const desired = specs.get(name);
    const folders = [...(all.get(name)?.staging ?? []), ...(desired ? await stagingFolders(host, desired) : [])];
    await sweep(host, name, folders).catch(() => {});
  }
}

/** Finishes one spec's open intent. Throws `DEPLOY_FAILED` where that is not possible yet; the intent then stays. */
export async function finish(
  host: Host,
  name: string,
  desired: Desired | undefined,
  records: Records,
  generations: StagedGenerations,
): Promise<void> {
  if ((await finishIntent(host, name)) !== "partial" || desired === undefined) return;
  const number = await generations.newest();
  if (number === undefined) return;
  if (desired.layout === "link") return await removeIntent(host, name); // the next apply switches the whole set
  const record = await records.read(name);
  // Whatever the agent staged since, the paths must hold one pair: that of before, where the newest is not fit.
  const generation = await accept(host, desired, record, await generations.read(number)).catch(
    async (error: unknown) => {
      const deployed = await readGeneration({ generations }, record, record.deployed);
      if (deployed !== undefined) return deployed;
      throw error;
    },
  );
  const targets = await targetsOf(host, desired, generation, record);
  const changes = targets.filter((target) => !isTrue(target));
  await deployFiles(host, name, generation.number, changes, () => {});
  await removeIntent(host, name);
}
