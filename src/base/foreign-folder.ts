import { AgentError } from "./errors.ts";
import type { FileStat } from "./file-calls.ts";
import { fileCalls } from "./file-calls.ts";
import { isMissing } from "./file-error.ts";
import { type Folder, openFolder, openFolderIn } from "./folder.ts";
import { readRegular } from "./read-file.ts";
import { rawNames } from "./remove-entry.ts";

/** A folder that belongs to somebody else, who may put anything into it at any time. Only looked at. */
export interface ForeignFolder extends AsyncDisposable {
  /** Its names, in no order. Throws `STATE_UNUSABLE` where there are more than `limit`. */
  names(limit: number): Promise<readonly string[]>;
  /**
   * The bytes of a file in it. Throws `DEPLOY_FAILED` for all but a regular file of one name, of at most `limit` bytes,
   * that belongs to the folder's user or to root.
   */
  read(name: string, limit: number): Promise<Buffer>;
}

/**
 * Walks from `base`, where nobody but root (or the user that certagent runs as) decides what has a name, through folders
 * that are another user's: each by the descriptor of the one before, none of them a link, so that wherever its owner
 * swaps one, what is reached is a folder below `base`. Undefined where one is missing. Throws `DEPLOY_FAILED`.
 */
export async function openForeignFolder(base: string, parts: readonly string[]): Promise<ForeignFolder | undefined> {
  await using stack = new AsyncDisposableStack();
  try {
    let folder: Folder = stack.use(await openFolder(base));
    let owner: FileStat["uid"] | undefined;
    for (const part of parts) {
      folder = stack.use(await openFolderIn(folder, part));
      owner ??= (await fileCalls.stat(folder.handle)).uid;
    }
    return held(folder, owner ?? 0n, stack.move());
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function held(folder: Folder, owner: FileStat["uid"], stack: AsyncDisposableStack): ForeignFolder {
  return {
    names: async (limit) => {
      const names = await rawNames(folder, limit + 1);
      if (names.length <= limit) return names;
      throw new AgentError("STATE_UNUSABLE", `Cannot read "${folder.path}": it holds more than ${limit} files`);
    },
    read: async (name, limit) => {
      const way = folder.at(name);
      const reading = readRegular(way, limit, fileCalls, async (_, stat) => {
        const refuse = (fact: string) => new AgentError("DEPLOY_FAILED", `Cannot read "${way}": ${fact}`);
        if (stat.nlink !== 1n) throw refuse(`it has ${stat.nlink} names (hard links)`);
        if (stat.uid !== owner && stat.uid !== 0n) throw refuse(`it belongs to user ${stat.uid}`);
      });
      return (await reading.catch(retold(way, `${folder.path}/${name}`))).bytes;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** The way by a descriptor means nothing to people. */
function retold(way: string, path: string): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof AgentError)) throw error;
    const { code, message, hint, cause } = error;
    throw new AgentError(code, message.replaceAll(way, path), { hint: hint?.replaceAll(way, path), cause });
  };
}
