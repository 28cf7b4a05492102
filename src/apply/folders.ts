import { dirname } from "node:path";
import { makeFolder } from "../base/folder.ts";
import type { Host } from "./host.ts";

/** Makes the root side's own folders where they are missing. */
export async function makeOwnFolders({ layout, files }: Pick<Host, "layout" | "files">): Promise<void> {
  const { folder, intents, replaced } = layout.apply;
  await makeFolder(dirname(folder), { mode: 0o755 }, files);
  for (const own of [folder, intents, replaced, dirname(layout.apply.facts("x"))]) {
    await makeFolder(own, { mode: 0o700 }, files);
  }
  // Services walk through it by full paths; nobody needs to list it.
  await makeFolder(layout.live, { mode: 0o711 }, files);
}
