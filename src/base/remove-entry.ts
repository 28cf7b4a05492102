import { constants, opendirSync, type PathLike } from "node:fs";
import { lstat, rmdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { moveEntry, temporaryName } from "./atomic-file.ts";
import { openFile } from "./file-calls.ts";
import { fileError, isMissing } from "./file-error.ts";
import { type Folder, holdFolder } from "./folder.ts";

/** A name as the file system has it, which need not be text: a character for each byte. */
export type RawName = string;

const FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The path of a raw name in a folder that is held. */
export function rawPath(folder: Folder, name: RawName): PathLike {
  return Buffer.from(folder.at(name), "latin1");
}

/** Of a folder of millions no more is looked at. */
const MOST_LOOKED_AT = 100_000;

/**
 * At most `limit` names in a folder that is held, in no order: any, or those that are meant. To open what is open already,
 * and to close it, waits for no disk, and is done at once; to read it may. Throws `STATE_UNUSABLE`.
 */
export async function rawNames(
  folder: Folder,
  limit: number,
  isMeant: (name: RawName) => boolean = () => true,
): Promise<readonly RawName[]> {
  const names: RawName[] = [];
  try {
    using entries = opendirSync(folder.at("."), { encoding: "latin1" as BufferEncoding, bufferSize: 256 });
    for (let left = MOST_LOOKED_AT; left > 0 && names.length < limit; left -= 1) {
      const entry = await entries.read();
      if (entry === null) break;
      if (isMeant(entry.name)) names.push(entry.name);
    }
  } catch (error) {
    throw fileError("read", folder.path, error, "STATE_UNUSABLE");
  }
  return names;
}

/**
 * Removes an entry of a held folder, whatever it is and whoever changes it meanwhile: folders with all that is in them,
 * however deep, by bringing what they hold up into the held one. At most `limit` entries are removed; the rest stays
 * under temporary names, as it does when `signal` aborts. Answers whether nothing has the name any more.
 */
export async function removeEntry(
  folder: Folder,
  name: RawName,
  limit: number,
  signal?: AbortSignal,
): Promise<boolean> {
  const names = [name];
  for (let left = limit; left > 0 && signal?.aborted !== true; left -= 1) {
    const next = names.pop();
    if (next === undefined) break;
    const isGone = await unlink(rawPath(folder, next)).then(() => true, isMissing);
    if (!isGone) names.push(...(await emptied(folder, next, left, signal)));
  }
  return await lstat(rawPath(folder, name)).then(() => false, isMissing);
}

/** Removes a folder; answers under which names of the outer one its own folders now are. */
async function emptied(
  folder: Folder,
  name: RawName,
  limit: number,
  signal: AbortSignal | undefined,
): Promise<readonly RawName[]> {
  const moved: RawName[] = [];
  try {
    await using inner = holdFolder(join(folder.path, name), await openFile(rawPath(folder, name), FOLDER));
    for (const entry of await rawNames(inner, limit)) {
      if (signal?.aborted === true) return moved;
      await unlink(rawPath(inner, entry)).catch(async () => {
        const as = temporaryName();
        await moveEntry(rawPath(inner, entry), folder, as);
        moved.push(as);
      });
    }
    await rmdir(rawPath(folder, name));
  } catch {
    // Somebody changes it meanwhile, or may: what stays is found again.
  }
  return moved;
}
