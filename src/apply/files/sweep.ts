import { dirname } from "node:path";
import { ownUid } from "../../base/accounts.ts";
import { isTemporary } from "../../base/atomic-file.ts";
import { rawNames } from "../../base/remove-entry.ts";
import { reach } from "../../base/trusted-folder.ts";
import type { Desired } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import type { ApplyRecord } from "../record.ts";

/** What is left is met at the next start: a folder's owner may have put any number of them there. */
const MOST_SWEPT = 1000;

/** Where a spec's files are staged, and whose folder that may be besides root's. */
export type StagingFolder = ApplyRecord["staging"][number];

/** The folders that a spec's outputs are staged in, as far as their owners are known. */
export async function stagingFolders(host: Host, { outputs }: Desired): Promise<readonly StagingFolder[]> {
  const folders = new Map<string, StagingFolder>();
  for (const output of outputs) {
    const access = await host.accessOf(output).catch(() => undefined); // observe tells of it
    const folder = { path: dirname(output.path), owner: access?.uid ?? ownUid() };
    folders.set(`${folder.owner} ${folder.path}`, folder);
  }
  return [...folders.values()];
}

/**
 * Removes the unfinished files in these folders, also of a spec that was removed since; each folder is looked into once,
 * as many specs write into one. Never anybody else's files: the names are certagent's, and so is the owner, or the owner
 * that the spec names.
 */
export async function sweepFolders(host: Host, folders: readonly StagingFolder[]): Promise<void> {
  const distinct = new Map(folders.map((folder) => [`${folder.owner} ${folder.path}`, folder]));
  for (const { path, owner } of distinct.values()) {
    try {
      await using reached = await reach(path, owner, host.files);
      if (reached.missing !== null) continue;
      for (const entry of await rawNames(reached.folder, MOST_SWEPT, isTemporary)) {
        const stat = await host.files.lstat(reached.folder.at(entry));
        const isOurs = Number(stat.uid) === ownUid() || Number(stat.uid) === owner;
        if (isOurs && !stat.isDirectory()) await host.files.unlink(reached.folder.at(entry));
      }
    } catch {
      // A folder that cannot be used is told by observe; what lies in it harms nobody.
    }
  }
}
