/** Whether there is room for outputs, asked before a certificate is spent on them. */
import { constants } from "node:fs";
import { dirname } from "node:path";
import type { Files } from "../../base/atomic-file.ts";
import { type Failure, failureOf } from "../../base/errors.ts";
import { close, type OpenFile } from "../../base/file-calls.ts";
import { errnoOf, fileError, isMissing } from "../../base/file-error.ts";
import { type Milliseconds, SECOND } from "../../base/time.ts";
import type { Output } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import type { LookInto } from "./way.ts";

/** Less space than this is a full disk: a deployment writes its files beside the old ones. */
const LEAST_BYTES = 64 * 1024;

/** Linux; Node has no name for O_TMPFILE. */
const NAMELESS = 0o20000000 | constants.O_DIRECTORY | constants.O_RDWR;

/** How long a folder is believed to have room: many specs write into one, and each look would ask again. */
const ROOM_BELIEVED: Milliseconds = 5 * SECOND;

/** Folders that are full or cannot be written show before an issuance is spent on them. */
export function createFolderCheck(
  { accessOf, files, system: { clock } }: Host,
  lookInto: LookInto,
): (outputs: readonly Output[]) => Promise<Failure | null> {
  const roomy = new Map<string, Milliseconds>();
  return async (outputs) => {
    const byFolder = new Map(outputs.map((output) => [dirname(output.path), output]));
    for (const [folder, output] of byFolder) {
      if ((roomy.get(folder) ?? 0) > clock.monotonic()) continue;
      try {
        const { uid } = await accessOf(output);
        const look = (at: (name: string) => string) => checkRoom(files, at("."));
        // A folder that is missing will be made in the one above it.
        if ((await lookInto(folder, uid, look)) === undefined) await lookInto(dirname(folder), uid, look);
        roomy.set(folder, clock.monotonic() + ROOM_BELIEVED);
      } catch (error) {
        roomy.delete(folder);
        if (!isMissing(error)) return failureOf(fileError("write", output.path, error));
      }
    }
    return null;
  };
}

/** Throws as a write would. A file system that tells no size (ramfs) or no number of inodes (btrfs) has no such end. */
async function checkRoom(files: Files, folder: string): Promise<"roomy"> {
  await files.mayWrite(folder);
  const { blocks, bfree, bavail, bsize, ffree, files: inodes } = await files.statfs(folder);
  const isFull = (bfree * bsize < LEAST_BYTES && blocks !== 0) || (ffree === 0 && inodes !== 0);
  if (isFull) throw Object.assign(new Error("full"), { code: "ENOSPC" });
  if (bavail * bsize < LEAST_BYTES && blocks !== 0) await tryRoom(files, folder);
  return "roomy";
}

/**
 * Where users have no room left, what is free may be root's, or what the file system keeps for itself (16 MB of ext4):
 * which of the two shows a file without a name. A file system that knows none of those is believed to have room.
 */
async function tryRoom(files: Files, folder: string): Promise<void> {
  let file: OpenFile | undefined;
  try {
    file = await files.open(folder, NAMELESS, 0o600);
    const bytes = Buffer.alloc(LEAST_BYTES);
    for (let offset = 0, length = 1; length > 0; offset += length) {
      length = (await files.write(file, bytes, offset)).bytesWritten;
    }
  } catch (error) {
    if (["ENOSPC", "EDQUOT", "-122"].includes(errnoOf(error) ?? "")) throw error;
  } finally {
    if (file !== undefined) await close(file);
  }
}
