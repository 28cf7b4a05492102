import { join } from "node:path";
import { type Files, isTemporary, nodeFiles } from "./atomic-file.ts";
import { isMissing } from "./file-error.ts";

/**
 * Removes the temporary files that a killed process left in a state folder and the folders below it. Only where nobody
 * else writes there at that time: at start, with the lock held. What cannot be removed stays for the next start.
 */
export async function sweepTemporaries(folder: string, files: Files = nodeFiles): Promise<void> {
  const names = await files.readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
  for (const name of names) {
    const path = join(folder, name);
    const stat = await files.lstat(path).catch(() => undefined);
    if (stat?.isDirectory()) await sweepTemporaries(path, files);
    else if (isTemporary(name)) await files.unlink(path).catch(() => {});
  }
}
