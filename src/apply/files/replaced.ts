import { basename, join } from "node:path";
import { replaceLink, writeAtomically } from "../../base/atomic-file.ts";
import { isMissing, rethrow } from "../../base/file-error.ts";
import { makeFolders } from "../../base/folder.ts";
import { sweepTemporaries } from "../../base/sweep.ts";
import { sha256 } from "../../core/hash.ts";
import type { Host } from "../host.ts";
import type { ApplyRecord } from "../record.ts";
import type { Target } from "./target.ts";

/** Of one path: who keeps writing something else there must not fill the disk. */
const MOST_COPIES = 8;

/**
 * Keeps what certagent is about to replace and did not write: a copy under `replaced/NAME/`, for root alone, durable when
 * this resolves, and only the first time that this very content is met there. A link is kept as a link.
 */
export async function keepReplaced(
  host: Host,
  name: string,
  changes: readonly Target[],
  record: ApplyRecord,
): Promise<readonly string[]> {
  const kept: string[] = [];
  const folder = join(host.layout.apply.replaced, name);
  for (const change of changes) {
    const others = othersAt(change, record);
    if (others === undefined) continue;
    const mark = `${shortDigestOf(change.path)}-`;
    const file = `${mark}${shortDigestOf(others)}-${basename(change.path).slice(-60)}`; // a name may be as long as names can be
    const copies = (await namesIn(host, folder)).filter((one) => one.startsWith(mark));
    if (copies.includes(file) || copies.length >= MOST_COPIES) continue;
    const copy = join(folder, file);
    await makeFolders(folder, { mode: 0o700 }, host.files);
    await sweepTemporaries(folder, host.files); // of one that was cut off here: a sweep at each start would open them all
    if (typeof others === "string") await replaceLink(others, copy, host.files);
    else await writeAtomically(copy, others, { mode: 0o600, files: host.files });
    kept.push(`kept ${change.path} as ${copy}`);
  }
  return kept;
}

/**
 * The bytes that stand at a path, or where the link there leads, if certagent did not write it. In the place of a file of
 * certagent's only a certificate or key is kept: an operator's own one, put there while the spec was away, say.
 */
function othersAt({ path, before, output }: Target, { files }: ApplyRecord): Uint8Array | string | undefined {
  if (before.kind === "missing" || before.kind === "spoilt") return undefined;
  const written = files[path];
  if (written === undefined) return before.kind === "link" ? before.link : (before.link ?? before.bytes);
  if (before.kind === "link" || sha256(before.bytes) === written.sha256) return undefined;
  return output.format.recognizes(before.bytes) ? before.bytes : undefined;
}

function shortDigestOf(content: Uint8Array | string): string {
  return sha256(content).slice(0, 8);
}

async function namesIn({ files }: Host, folder: string): Promise<readonly string[]> {
  try {
    return await files.readdir(folder);
  } catch (error) {
    if (isMissing(error)) return [];
    return rethrow("read", folder)(error);
  }
}
