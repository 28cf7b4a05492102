import { type Files, isTemporary, nodeFiles } from "./atomic-file.ts";
import { type Folder, openFolder, openFolderIn } from "./folder.ts";

/**
 * Removes the temporary files that a killed process left in a state folder and the folders below it, but for the one that
 * is named. Only where nobody else writes there at that time. What cannot be removed or looked into stays for the next
 * time, and stops nobody.
 */
export async function sweepTemporaries(path: string, files: Files = nodeFiles, spared?: string): Promise<void> {
  await openFolder(path, files)
    .then((folder) => sweepIn(folder, files, spared))
    .catch(() => {});
}

/** By descriptors: a folder that somebody swaps for a link meanwhile does not lead out of the one that is swept. */
async function sweepIn(opened: Folder, files: Files, spared?: string): Promise<void> {
  await using folder = opened;
  for (const entry of await files.entries(folder.at("."))) {
    if (entry.name === spared) continue;
    if (entry.isDirectory()) {
      await openFolderIn(folder, entry.name, files)
        .then((inner) => sweepIn(inner, files))
        .catch(() => {});
    } else if (isTemporary(entry.name)) await files.unlink(folder.at(entry.name)).catch(() => {});
  }
}
