import { dirname } from "node:path";
import type { FileStat } from "../base/file-calls.ts";
import { reach } from "../base/trusted-folder.ts";
import type { Desired, Generation } from "../core/ports.ts";
import { identityOf, putBack } from "./files/change.ts";
import { deployFiles } from "./files/deploy-files.ts";
import { deployLink } from "./files/deploy-link.ts";
import { type Found, MISSING } from "./files/found.ts";
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
  /** What is written anew, in the order of the outputs, over what was deployed. */
  readonly files: readonly Target[];
  /** What is put back as it was found: a link of others', or nothing. A file that cannot be read stays as it was deployed. */
  readonly others: readonly Target[];
}

/**
 * The pair that is in force before the outputs are changed: the deployed generation (undefined where nobody has it any
 * more), else others' pair that stands there; undefined where there is neither. What others did to files of certagent's
 * since is not gone back to: a key may be gone, or open to all. `generation` is what is about to be deployed.
 */
export function previousOf(
  targets: readonly Target[],
  record: ApplyRecord,
  deployed: Generation | undefined,
  generation: Generation,
): Previous | undefined {
  const isLeft = targets.every((target) => isUntouched(target, record));
  // What stands there as certagent wrote it need not be read to know whose it is.
  const pair =
    isLeft && deployed !== undefined
      ? undefined
      : pairIn(targets.flatMap(({ before }) => (before.kind === "file" ? [before.bytes] : [])));
  const isOthers = !isLeft && pair !== undefined && pair.key.keyId !== deployed?.key.keyId;
  if (deployed !== undefined && !isOthers) {
    // A path that is new in the spec gets that pair as well: a service may be told of it already.
    return goneBackTo(record.deployed, deployed, targets, (target) =>
      isUntouched(target, record) || isAdopted(target, record, deployed)
        ? asItStood(target, record)
        : { bytes: target.output.format.render(deployed), access: target.access },
    );
  }
  const areCertificates = targets.every(({ before, output }) => before.kind === "file" && !output.format.holdsKey);
  if (pair === undefined && !areCertificates) return undefined;
  return goneBackTo(isOthers ? null : record.deployed, { ...generation, ...pair }, targets, (target) =>
    asItStood(target, record),
  );
}

/** An earlier generation, rendered again: for a process that was killed before it knew how its services took the next. */
export function previousFromStore(targets: readonly Target[], generation: Generation): Previous {
  return goneBackTo(generation.number, generation, targets, ({ output, access }) => ({
    bytes: output.format.render(generation),
    access,
  }));
}

type FileBefore = Pick<Target, "bytes" | "access">;

/** `fileOf`: what each target is to hold again; undefined where it is put back as it was found. */
function goneBackTo(
  number: number | null,
  generation: Generation,
  targets: readonly Target[],
  fileOf: (target: Target) => FileBefore | undefined,
): Previous {
  const all = targets.map((target) => ({ target, file: fileOf(target) }));
  return {
    number,
    generation,
    files: all.flatMap(({ target, file }) => (file ? [{ ...target, ...file, before: onceDeployed(target) }] : [])),
    others: all.flatMap(({ target, file }) => (file ? [] : [target])),
  };
}

/** What stood at a target as a file; undefined where that was none, or stood behind a link of others'. */
function asItStood(target: Target, record: ApplyRecord): FileBefore | undefined {
  const { before, path, access, link } = target;
  const isOurs = isUntouched(target, record);
  // A link of `layout: link` becomes a file again: links cannot be put back as a set.
  if (before.kind !== "file" || (before.link !== null && link === null && !isOurs)) return undefined;
  const isDrifted = !isOurs && record.files[path] !== undefined;
  return { bytes: before.bytes, access: isDrifted ? access : before.access };
}

/** What stands at a target once it is deployed: what `deployFiles` puts back where it fails half-way. */
function onceDeployed({ bytes, access, link, before }: Target): Found {
  if (before.kind !== "file") return link === null ? MISSING : { kind: "link", link };
  return { kind: "file", bytes: Buffer.from(bytes), access, stat: before.stat, link };
}

/** Whether a file is as certagent wrote it. */
export function isUntouched({ path, before }: Target, record: ApplyRecord): boolean {
  return before.kind === "file" && record.files[path]?.identity === identityOf(before.stat);
}

/** Whether a file that certagent has never written holds what the deployed generation has for it: it was taken over so. */
function isAdopted({ path, before, output }: Target, record: ApplyRecord, deployed: Generation): boolean {
  if (before.kind !== "file" || record.files[path] !== undefined) return false;
  return before.bytes.equals(output.format.render(deployed));
}

/** Makes the outputs what they were, as fresh files. Answers what then stands at each of these. Throws `DEPLOY_FAILED`. */
export async function restore(
  host: Host,
  desired: Desired,
  { number, files, others }: Previous,
): Promise<ReadonlyMap<string, FileStat>> {
  const deploy = desired.layout === "link" ? deployLink : deployFiles;
  const stats = await deploy(host, desired, number ?? 0, files, () => {});
  for (const target of others) {
    await using reached = await reach(dirname(target.path), target.owner, host.files);
    await putBack(host, reached.folder, target);
    await reached.folder.sync();
  }
  return stats;
}
