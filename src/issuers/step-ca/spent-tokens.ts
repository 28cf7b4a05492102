import { access, readdir, readFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../../base/atomic-file.ts";
import { makeFolders, removeDurably } from "../../base/folder.ts";
import { DAY, type Instant, type Milliseconds } from "../../base/time.ts";

/**
 * Which one-time tokens were sent, by their hash, over restarts too: nearly every attempt spends one, whatever comes of
 * it, and a process may be killed in one.
 */
export interface SpentTokens {
  /** Takes a token for one attempt; false where it was sent already, or is taken. */
  readonly claim: (id: string) => Promise<boolean>;
  /** Before the first byte of it leaves; `end`: when it expires. Durable when it resolves; throws `DEPLOY_FAILED`. */
  readonly mark: (id: string, end: Instant | undefined) => Promise<void>;
  /** Gives back one that was not sent. */
  readonly release: (id: string) => Promise<void>;
}

/** A token that ended so long ago is refused by every CA, and no clock is that wrong for long. */
const KEPT: Milliseconds = 365 * DAY;

/** Marks are files in `folder` that say when their token ends; without a folder they last as long as the process. */
export function createSpentTokens(folder: string | undefined, now: () => Instant): SpentTokens {
  const taken = new Set<string>();
  const markOf = (id: string): string | undefined => folder && join(folder, id);
  return {
    claim: async (id) => {
      if (taken.has(id)) return false;
      taken.add(id);
      const mark = markOf(id);
      return mark === undefined || !(await isThere(mark));
    },
    mark: async (id, end) => {
      const mark = markOf(id);
      if (folder === undefined || mark === undefined) return;
      await makeFolders(folder, { mode: 0o700 });
      await removeEnded(folder, now() - KEPT).catch(() => {});
      await writeAtomically(mark, Buffer.from(`${end ?? "never"}\n`), { mode: 0o600 });
    },
    release: async (id) => {
      const mark = markOf(id);
      if (mark !== undefined) await removeDurably(mark);
      taken.delete(id);
    },
  };
}

/** Removes the marks of tokens that ended before an instant. Of those that say no end nobody knows. */
async function removeEnded(folder: string, before: Instant): Promise<void> {
  for (const name of await readdir(folder)) {
    const path = join(folder, name);
    const end = /^\d+$/.exec((await readFile(path, "utf8")).trim())?.[0];
    if (end !== undefined && Number(end) < before) await unlink(path);
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
