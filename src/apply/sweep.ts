import { dirname } from "node:path";
import { isTemporary } from "../base/atomic-file.ts";
import type { Desired } from "../core/ports.ts";
import { ownUid } from "./access.ts";
import { sweepSets } from "./deploy-link.ts";
import type { Host } from "./host.ts";
import { reach } from "./trusted-folder.ts";

/**
 * Removes what a killed process left unfinished beside a spec's outputs and in its sets. Never anybody else's files: the
 * names are certagent's, and so is the owner, or the owner that the spec names.
 */
export async function sweep(host: Host, desired: Desired): Promise<void> {
  await sweepSets(host, desired.name);
  for (const output of desired.outputs) {
    try {
      const { uid } = await host.accessOf(output);
      await using reached = await reach(dirname(output.path), uid, host.files);
      if (reached.missing !== null) continue;
      for (const entry of await host.files.readdir(reached.folder.at("."))) {
        if (!isTemporary(entry)) continue;
        const stat = await host.files.lstat(reached.folder.at(entry));
        const isOurs = Number(stat.uid) === ownUid() || Number(stat.uid) === uid;
        if (isOurs && !stat.isDirectory()) await host.files.unlink(reached.folder.at(entry));
      }
    } catch {
      // A folder that cannot be used is told by observe; what lies in it harms nobody.
    }
  }
}
