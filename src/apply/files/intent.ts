/**
 * The roll-forward record of `layout: files`: written before the first of several renames, removed after the last. What
 * a killed process leaves behind is finished from it, at the next start and before anything else.
 */
import { readdir } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import * as z from "zod";
import { publishLeftover, writeAtomically } from "../../base/atomic-file.ts";
import { isMissing, rethrow } from "../../base/file-error.ts";
import { type Folder, removeDurably } from "../../base/folder.ts";
import { readRegular } from "../../base/read-file.ts";
import { reach } from "../../base/trusted-folder.ts";
import { sha256 } from "../../core/hash.ts";
import type { Layout } from "../../store/layout.ts";
import { readState, withFolders } from "../../store/state-file.ts";
import type { Host } from "../host.ts";

const schema = z.object({
  schema: z.literal(1),
  generation: z.number(),
  files: z.array(z.object({ path: z.string(), temporary: z.string(), sha256: z.string(), owner: z.number() })),
});
export type Intent = Omit<z.output<typeof schema>, "schema">;

const LIMIT = 1024 * 1024;

/** The names of the specs whose changes are open. */
export async function openIntents({ apply }: Layout): Promise<readonly string[]> {
  const files = await readdir(apply.intents).catch(rethrow("read", apply.intents));
  return files.filter((file) => /^[^.].*\.json$/.test(file)).map((file) => basename(file, ".json"));
}

/** Durable when it resolves. */
export async function writeIntent(host: Host, name: string, intent: Intent): Promise<void> {
  const bytes = Buffer.from(`${JSON.stringify({ schema: 1, ...intent })}\n`);
  const path = pathOf(host, name);
  await withFolders(path, () => writeAtomically(path, bytes, { mode: 0o600, files: host.files, alone: true }));
}

export async function removeIntent(host: Host, name: string): Promise<void> {
  await removeDurably(pathOf(host, name), host.files);
}

/**
 * Finishes the renames of an open intent. `whole`: every file of it is in place, durably. `partial`: a temporary is
 * gone, so the outputs must be deployed again; the intent stays until they are. `none`: there is no intent.
 */
export async function finishIntent(host: Host, name: string): Promise<"none" | "whole" | "partial"> {
  const intent = await readState(pathOf(host, name), schema);
  if (intent === undefined) return "none";
  let isWhole = true;
  for (const file of intent.files) {
    try {
      await using folder = (await reach(dirname(file.path), file.owner, host.files)).folder;
      if (!(await finishFile(host, folder, file))) isWhole = false;
      await folder.sync();
    } catch {
      isWhole = false; // what stands in the way there shows when the outputs are deployed again
    }
  }
  if (!isWhole) return "partial";
  await removeIntent(host, name);
  host.log.info("finished a change that was cut off", {
    certificate: name,
    generation: intent.generation,
    paths: intent.files.map(({ path }) => path),
  });
  return "whole";
}

async function finishFile(host: Host, folder: Folder, file: Intent["files"][number]): Promise<boolean> {
  const name = basename(file.path);
  if ((await digestAt(host, folder, file.temporary)) === file.sha256) {
    await publishLeftover(folder, file.temporary, name, host.files);
    return true;
  }
  return (await digestAt(host, folder, name)) === file.sha256;
}

async function digestAt(host: Host, folder: Folder, name: string): Promise<string | undefined> {
  try {
    return sha256((await readRegular(folder.at(name), LIMIT, host.files)).bytes);
  } catch (error) {
    if (isMissing(error)) return undefined;
    return "unreadable";
  }
}

function pathOf({ layout }: Host, name: string): string {
  return join(layout.apply.intents, `${name}.json`);
}
