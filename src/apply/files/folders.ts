import { dirname } from "node:path";
import { makeFolder } from "../../base/folder.ts";
import type { Layout } from "../../store/layout.ts";
import type { Host } from "../host.ts";

/** The folders of the root side's state, outermost first. */
function ownFolders({ apply }: Layout): readonly string[] {
  return [apply.folder, apply.intents, apply.replaced, dirname(apply.facts("x"))];
}

/** Makes the root side's own folders where they are missing. */
export async function makeOwnFolders({ layout, files }: Pick<Host, "layout" | "files">): Promise<void> {
  await makeFolder(dirname(layout.apply.folder), { mode: 0o755 }, files);
  for (const folder of ownFolders(layout)) await makeFolder(folder, { mode: 0o700 }, files);
  // Services walk through it by full paths; nobody needs to list it.
  await makeFolder(layout.live, { mode: 0o711 }, files);
}
