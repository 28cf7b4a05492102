import { dirname } from "node:path";
import type { FileStat } from "../base/file-calls.ts";
import { reach } from "../base/trusted-folder.ts";
import type { Desired, Generation } from "../core/ports.ts";
import type { ExactAccess } from "./files/access.ts";
import { type Change, identityOf, putBack } from "./files/change.ts";
import { deployFiles } from "./files/deploy-files.ts";
import { deployLink } from "./files/deploy-link.ts";
import { MISSING } from "./files/found.ts";
import { pairIn } from "./files/pair.ts";
import type { Target } from "./files/target.ts";
import type { Host } from "./host.ts";
import type { ApplyRecord } from "./record.ts";

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

/**
 * The pair that was in force before the outputs are changed; undefined where none was. What others did to files of
 * certagent's since is not gone back to: a key may be gone, or open to all.
 */
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
  const isEarlier = deployed !== undefined && deployed.number !== generation.number;
  if (
    pair === undefined &&
    !isEarlier &&
    !targets.every(
      (target) => target.before.kind !== "spoilt" && (!target.output.format.holdsKey || isUntouched(target, record)),
    )
  ) {
    return undefined;
  }
  const isDeployed = pair === undefined || deployed?.key.keyId === pair.key.keyId;
  const contents = targets.map((target): Content => {
    const { before, path, output, access } = target;
    const isOthers = !isUntouched(target, record);
    // A path that is new in the spec gets the pair of before as well: a service may be told of it already.
    if (isOthers && isDeployed && isEarlier) return { target, file: { bytes: output.format.render(deployed), access } };
    // A link of `layout: link` becomes a file again: links cannot be put back as a set.
    const isOthersLink = isOthers && before.kind === "file" && before.link !== null && target.link === null;
    const isDrifted = isOthers && record.files[path] !== undefined;
    if (before.kind !== "file" || isOthersLink) return { target, file: null };
    return { target, file: { bytes: before.bytes, access: isDrifted ? access : before.access } };
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
  const plain = contents.filter(({ file }) => file !== null);
  const changes = plain.map(({ file, target }): Target => {
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

/** What stands there since the change: what `deployFiles` puts back where it fails half-way. */
function standingNow({ bytes, access, link, before }: Target): Change["before"] {
  if (before.kind !== "file") return link === null ? MISSING : { kind: "link", link };
  return { kind: "file", bytes: Buffer.from(bytes), access, stat: before.stat, link };
}
