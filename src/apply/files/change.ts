import { basename } from "node:path";
import { replaceLinkIn, stage } from "../../base/atomic-file.ts";
import type { FileStat } from "../../base/file-calls.ts";
import { isMissing, rethrow } from "../../base/file-error.ts";
import type { Folder } from "../../base/folder.ts";
import type { Host } from "../host.ts";
import type { ExactAccess } from "./access.ts";
import type { Found } from "./found.ts";

/** One file that is to hold something else: what, for whom, and what stood there. */
export interface Change {
  readonly path: string;
  readonly bytes: Uint8Array;
  readonly access: ExactAccess;
  /** The user besides root to whom the folder may belong. */
  readonly owner: number;
  readonly before: Found;
}

/** Tells a file that nobody touched since from every other: another inode, or a later change of anything. */
export function identityOf({ dev, ino, ctimeNs, size, mode, uid, gid }: FileStat): string {
  return [dev, ino, ctimeNs, size, mode, uid, gid].join(":");
}

/** What it takes to write an output besides its bytes and its access: `setfacl` as a child, and the file's label. */
export function surroundingsOf({ files, system, relabel }: Host) {
  return { files, run: system.ask, relabel };
}

/**
 * Puts back what stood at a path before a change, as a fresh file: some services go by the time of a file (hitch). Where
 * that was spoilt, the new one stays.
 */
export async function putBack(host: Host, folder: Folder, { path, before }: Change): Promise<void> {
  const name = basename(path);
  if (before.kind === "missing") {
    await host.files.unlink(folder.at(name)).catch((error: unknown) => {
      if (!isMissing(error)) rethrow("remove", path)(error);
    });
  } else if (before.kind === "spoilt") {
    return;
  } else if (before.kind === "link" || before.link !== null) {
    await replaceLinkIn(folder, name, before.link ?? "", host.files);
  } else {
    await using staged = await stage(folder, name, before.bytes, { ...before.access, ...surroundingsOf(host) });
    await staged.publish();
  }
}
