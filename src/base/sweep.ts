import { type Files, isTemporary, nodeFiles } from "./atomic-file.ts";
import { isMissing } from "./file-error.ts";
import { type Folder, openFolder, openFolderIn } from "./folder.ts";

/**
 * Removes the temporary files that a killed process left in a state folder and the folders below it, but for the one that
 * is named. Only where nobody else writes there at that time. What cannot be removed stays for the next time.
 */
export async function sweepTemporaries(path: string, files: Files = nodeFiles, spared?: string): Promise<void> {
  try {
    await using folder = await openFolder(path, files);
    await sweepIn(folder, files, spared);
  } catch (error) {
    if (!isMissing(error)) throw error;
  }
}

/** By descriptors: a folder that somebody swaps for a link meanwhile does not lead out of the one that is swept. */
async function sweepIn(folder: Folder, files: Files, spared?: string): Promise<void> {
  for (const entry of await files.entries(folder.at("."))) {
    if (entry.name === spared) continue;
    if (entry.isDirectory()) {
      await using inner = await openFolderIn(folder, entry.name, files);
      await sweepIn(inner, files);
    } else if (isTemporary(entry.name)) await files.unlink(folder.at(entry.name)).catch(() => {});
  }
}
