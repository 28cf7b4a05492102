import { basename, join } from "node:path";
import { replaceLink, writeAtomically } from "../base/atomic-file.ts";
import { isMissing } from "../base/file-error.ts";
import { makeFolders } from "../base/folder.ts";
import { sweepTemporaries } from "../base/sweep.ts";
import { sha256 } from "../core/hash.ts";
import type { Change } from "./change.ts";
import type { Host } from "./host.ts";
import type { ApplyRecord } from "./record.ts";

/**
 * Keeps what certagent is about to replace and did not write: a copy under `replaced/NAME/`, for root alone, durable when
 * this resolves, and only the first of each path. A link is kept as a link.
 */
export async function keepReplaced(
  host: Host,
  name: string,
  changes: readonly Change[],
  record: ApplyRecord,
): Promise<readonly string[]> {
  const kept: string[] = [];
  const folder = join(host.layout.apply.replaced, name);
  for (const { path, before } of changes) {
    if (before.kind === "missing" || before.kind === "spoilt" || record.files[path] !== undefined) continue;
    const copy = join(folder, copyName(path));
    if (await isThere(host, copy)) continue;
    await makeFolders(folder, { mode: 0o700 }, host.files);
    await sweepTemporaries(folder, host.files); // of one that was cut off here: a sweep at each start would open them all
    if (before.kind === "link" || before.link !== null) await replaceLink(before.link ?? "", copy, host.files);
    else await writeAtomically(copy, before.bytes, { mode: 0o600, files: host.files });
    kept.push(`kept ${path} as ${copy}`);
  }
  return kept;
}

/** Two outputs may have one name in two folders, and one as long as names can be. */
function copyName(path: string): string {
  return `${sha256(path).slice(0, 8)}-${basename(path).slice(-60)}`;
}

async function isThere({ files }: Host, path: string): Promise<boolean> {
  try {
    await files.lstat(path);
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}
