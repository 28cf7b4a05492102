import { dirname } from "node:path";
import type { FileStat } from "../base/file-calls.ts";
import { reach } from "../base/trusted-folder.ts";
import type { Desired, Generation } from "../core/ports.ts";
import type { ExactAccess } from "./access.ts";
import { type Change, identityOf, putBack } from "./change.ts";
import { deployFiles } from "./deploy-files.ts";
import { deployLink } from "./deploy-link.ts";
import { MISSING } from "./found.ts";
import type { Host } from "./host.ts";
import { pairIn } from "./pair.ts";
import type { ApplyRecord } from "./record.ts";
import type { Target } from "./target.ts";

/** What is gone back to where a service does not take what was deployed. */
export interface Previous {
  /** Null where certagent did not issue it. */
  readonly number: number | null;
  /** For the reload that follows. */
  readonly generation: Generation;
  readonly contents: readonly Content[];
}

interface Content {
  readonly target: Target;
  /** Null where what stood there was no file that was read: it is put back as it was. */
  readonly file: { readonly bytes: Uint8Array; readonly access: ExactAccess } | null;
}

/** The pair that stood at the outputs before they were changed; undefined where none did. */
export function previousOf(
  targets: readonly Target[],
  record: ApplyRecord,
  deployed: Generation | undefined,
  generation: Generation,
): Previous | undefined {
  // What stands there as certagent wrote it need not be read to know whose it is.
  const isOurs = deployed !== undefined && targets.every((target) => isUntouched(target, record));
  const pair = isOurs
    ? undefined
    : pairIn(targets.flatMap(({ before }) => (before.kind === "file" ? [before.bytes] : [])));
  if (pair === undefined && !targets.every((target) => !target.output.format.holdsKey || isUntouched(target, record))) {
    return undefined;
  }
  const isDeployed = pair === undefined || deployed?.key.keyId === pair.key.keyId;
  const contents = targets.map((target): Content => {
    const { before, path } = target;
    if (before.kind !== "file") return { target, file: null };
    // What others did to a file of certagent's is not gone back to: its key may be open to all.
    const isDrifted = record.files[path] !== undefined && !isUntouched(target, record);
    return { target, file: { bytes: before.bytes, access: isDrifted ? target.access : before.access } };
  });
  return {
    number: isDeployed ? record.deployed : null,
    generation: (isDeployed ? deployed : undefined) ?? { ...generation, ...pair },
    contents,
  };
}

/** Whether a file is as certagent wrote it. */
export function isUntouched({ path, before }: Target, record: ApplyRecord): boolean {
  return before.kind === "file" && record.files[path]?.identity === identityOf(before.stat);
}

/** An earlier generation, rendered again: for a process that was killed before it knew how its services took the next. */
export function previousFromStore(targets: readonly Target[], generation: Generation): Previous {
  const contents = targets.map(
    (target): Content => ({
      target,
      file: { bytes: target.output.format.render(generation), access: target.access },
    }),
  );
  return { number: generation.number, generation, contents };
}

/** Makes the outputs what they were, as fresh files. Answers what then stands at each path. Throws `DEPLOY_FAILED`. */
export async function restore(
  host: Host,
  desired: Desired,
  { contents, number }: Previous,
): Promise<ReadonlyMap<string, FileStat>> {
  const made = (): void => {};
  const plain = contents.filter(({ file, target }) => file !== null && !(desired.layout === "files" && isLink(target)));
  const changes = plain.map(({ file, target }): Change => {
    const standing = standingNow(target);
    return { ...target, bytes: file?.bytes ?? target.bytes, access: file?.access ?? target.access, before: standing };
  });
  const deploy = desired.layout === "link" ? deployLink : deployFiles;
  const stats = await deploy(host, desired, number ?? 0, changes, made);
  for (const { target } of contents.filter((content) => !plain.includes(content))) {
    await using reached = await reach(dirname(target.path), target.owner, host.files);
    await putBack(host, reached.folder, target);
    await reached.folder.sync();
  }
  return stats;
}

function isLink({ before }: Target): boolean {
  return before.kind === "file" && before.link !== null;
}

/** What stands there since the change: what `deployFiles` puts back where it fails half-way. */
function standingNow({ bytes, access, link, before }: Target): Change["before"] {
  if (before.kind !== "file") return link === null ? MISSING : { kind: "link", link };
  return { kind: "file", bytes: Buffer.from(bytes), access, stat: before.stat, link };
}
