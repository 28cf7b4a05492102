import { basename } from "node:path";
import { asAgentError } from "../base/errors.ts";
import { sweepTemporaries } from "../base/sweep.ts";
import type { Desired } from "../core/ports.ts";
import type { StagedGenerations } from "../store/staged.ts";
import { accept, readAccepted } from "./accept.ts";
import { deployFiles } from "./files/deploy-files.ts";
import { sweepSets } from "./files/deploy-link.ts";
import { makeOwnFolders } from "./files/folders.ts";
import { finishIntent, openIntents, removeIntent } from "./files/intent.ts";
import { stagingFolders, sweepFolders } from "./files/sweep.ts";
import { isTrue, targetsOf } from "./files/target.ts";
import type { Host } from "./host.ts";
import type { Records } from "./record.ts";

/**
 * Finishes the changes that a killed process left open, from their staged files, else by deploying again. One that cannot
 * be put right delays no other.
 */
export async function finishAll(
  host: Host,
  specs: () => Promise<ReadonlyMap<string, Desired>>,
  records: Records,
  generations: (name: string) => StagedGenerations,
): Promise<void> {
  await makeOwnFolders(host);
  for (const name of await openIntents(host.layout)) {
    try {
      await finish(host, name, (await specs()).get(name), records, generations(name));
    } catch (error) {
      const { message, hint } = asAgentError(error);
      host.log.warning("cannot finish a change that was cut off", { certificate: name, reason: message, hint });
    }
  }
  await sweepTemporaries(host.layout.apply.folder, host.files, basename(host.layout.apply.replaced));
}

/** Removes what a killed process left unfinished beside outputs and in sets. To be called before anything is deployed. */
export async function sweepAll(host: Host, specs: ReadonlyMap<string, Desired>, records: Records): Promise<void> {
  const all = await records.all();
  const folders = [...all.values()].flatMap(({ staging }) => staging);
  for (const desired of specs.values()) folders.push(...(await stagingFolders(host, desired)));
  await sweepFolders(host, folders);
  for (const name of await host.files.readdir(host.layout.live).catch(() => [])) {
    if (specs.has(name) || all.has(name)) await sweepSets(host, name).catch(() => {});
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
  const generation = await accept(host, desired, record, await generations.read(number), generations).catch(
    async (error: unknown) => {
      const deployed = await readAccepted(generations, record, record.deployed);
      if (deployed !== undefined) return deployed;
      throw error;
    },
  );
  const targets = await targetsOf(host, desired, generation, record);
  const changes = targets.filter((target) => !isTrue(target));
  await deployFiles(host, desired, generation.number, changes, () => {});
  await removeIntent(host, name);
}
