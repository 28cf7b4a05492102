import { access } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../../base/atomic-file.ts";
import { makeFolders, removeDurably } from "../../base/folder.ts";

/**
 * Which one-time tokens were sent, by their hash, over restarts too: nearly every attempt spends one, whatever comes of
 * it, and a process may be killed in one.
 */
export interface SpentTokens {
  /** Takes a token for one attempt; false where it was sent already, or is taken. */
  readonly claim: (id: string) => Promise<boolean>;
  /** Before the first byte of it leaves. Durable when it resolves; throws `DEPLOY_FAILED`. */
  readonly mark: (id: string) => Promise<void>;
  /** Gives back one that was not sent. */
  readonly release: (id: string) => Promise<void>;
}

/** Marks are empty files in `folder`; without one they last as long as the process. */
export function createSpentTokens(folder: string | undefined): SpentTokens {
  const taken = new Set<string>();
  const markOf = (id: string): string | undefined => folder && join(folder, id);
  return {
    claim: async (id) => {
      if (taken.has(id)) return false;
      taken.add(id);
      const mark = markOf(id);
      return mark === undefined || !(await isThere(mark));
    },
    mark: async (id) => {
      const mark = markOf(id);
      if (folder === undefined || mark === undefined) return;
      await makeFolders(folder, { mode: 0o700 });
      await writeAtomically(mark, Buffer.alloc(0), { mode: 0o600 });
    },
    release: async (id) => {
      const mark = markOf(id);
      if (mark !== undefined) await removeDurably(mark);
      taken.delete(id);
    },
  };
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
