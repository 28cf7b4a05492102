import type { FileStat } from "../base/file-calls.ts";
import type { Instant } from "../base/time.ts";
import { sha256 } from "../core/hash.ts";
import type { Desired, Generation } from "../core/ports.ts";
import { earliestExpiry } from "../x509/chain.ts";
import { acceptedStill } from "./accept.ts";
import { identityOf } from "./files/change.ts";
import { deployFiles } from "./files/deploy-files.ts";
import { deployLink } from "./files/deploy-link.ts";
import { letGo } from "./files/let-go.ts";
import { keepReplaced } from "./files/replaced.ts";
import { stagingFolders } from "./files/sweep.ts";
import { isTrue, type Target } from "./files/target.ts";
import { isUntouched, type Previous } from "./previous.ts";
import { type Applying, keep, type Progress } from "./progress.ts";
import { type ApplyRecord, NO_SERVICE_RECORD } from "./record.ts";

/** Makes outputs true that are not, and records that. Throws `DEPLOY_FAILED` with everything as it was. */
export async function changeOutputs(
  applying: Applying,
  progress: Progress,
  generation: Generation,
  targets: readonly Target[],
  previous: Previous | undefined,
): Promise<void> {
  const { host, desired, signal } = applying;
  const { name } = desired;
  const { record, actions } = progress;
  const changes = targets.filter((target) => !isTrue(target));
  actions.push(...(await keepReplaced(host, name, changes, record)));
  const made = (path: string): void => {
    actions.push(`made ${path}/`);
    host.log.info("made a folder", { certificate: name, path });
  };
  await letGo(host, desired, record);
  await keep(applying, progress, { staging: [...(await stagingFolders(host, desired))] });
  signal.throwIfAborted(); // the last chance: from here to the last rename nothing is cut off
  const stats =
    desired.layout === "link"
      ? await deployLink(host, desired, generation.number, targets, made)
      : await deployFiles(host, desired, generation.number, changes, made);
  progress.files = "written";
  for (const target of changes) tellOf(target, applying, progress, generation);
  await keep(applying, progress, {
    ...deployedNow(desired, record, generation),
    files: { ...namedStill(desired, record), ...written(targets, stats) },
    services: unchecked(desired, record, previous === undefined ? null : earliestExpiry(previous.generation.chain)),
    owesAfter: desired.hooks.after !== null,
  });
}

function tellOf(
  target: Target,
  { host, desired }: Applying,
  { record, actions, repaired }: Progress,
  { number }: Generation,
) {
  const isSpoilt = target.path in record.files && !isUntouched(target, record);
  if (isSpoilt) repaired.push(target.path);
  actions.push(`wrote ${target.path}`);
  const message = isSpoilt && record.deployed === number ? "repaired a file" : "wrote a file";
  host.log.info(message, { certificate: desired.name, path: target.path, generation: number });
}

/**
 * Nothing is to be changed: what stands there was found, or a process was killed between the files and their record.
 * Files that were found are not certagent's until it has written them: a copy is still owed when they are replaced.
 */
export async function recordOutputs(
  applying: Applying,
  progress: Progress,
  generation: Generation,
  targets: readonly Target[],
): Promise<void> {
  const { record } = progress;
  const isNew = record.deployed !== generation.number;
  const isCutOff = isNew && wasCutOff(record, targets);
  const ours = targets.filter(({ path }) => path in record.files || isCutOff);
  const stats = new Map(ours.flatMap(({ path, before }) => (before.kind === "file" ? [[path, before.stat]] : [])));
  await keep(applying, progress, {
    ...deployedNow(applying.desired, record, generation),
    files: { ...record.files, ...written(targets, stats) },
    ...(isNew && {
      services: unchecked(applying.desired, record, isCutOff ? null : earliestExpiry(generation.chain)),
      owesAfter: isCutOff && applying.desired.hooks.after !== null,
    }),
  });
}

/**
 * Whether certagent itself has changed files since the record was written, which names their folders before it does. A
 * generation says of itself what the agent likes.
 */
function wasCutOff(record: ApplyRecord, targets: readonly Target[]): boolean {
  return record.staging.length > 0 && targets.some((target) => !isUntouched(target, record));
}

function deployedNow(
  { outputs, services }: Desired,
  record: ApplyRecord,
  generation: Generation,
): Pick<ApplyRecord, "deployed" | "before" | "accepted" | "paths"> {
  const { number: deployed } = generation;
  const earlier = record.deployed === deployed ? record.before : record.deployed;
  const before = services.some(({ passive }) => !passive) ? earlier : null; // nobody refuses what nobody is told of
  const accepted = acceptedStill(record, { deployed, before }, generation);
  return { deployed, before, accepted, paths: outputs.map(({ path }) => path) };
}

function namedStill({ outputs }: Desired, { files }: ApplyRecord): ApplyRecord["files"] {
  return Object.fromEntries(Object.entries(files).filter(([file]) => outputs.some(({ path }) => path === file)));
}

/** The identity of what stands at each path that a deployment answered for. */
export function written(targets: readonly Target[], stats: ReadonlyMap<string, FileStat>): ApplyRecord["files"] {
  const files: ApplyRecord["files"] = {};
  for (const { path, bytes } of targets) {
    const stat = stats.get(path);
    if (stat !== undefined) files[path] = { sha256: sha256(bytes), identity: identityOf(stat) };
  }
  return files;
}

/** New files: no service's check has seen them. `servedUntil`: what a service serves of which nothing is recorded. */
function unchecked(desired: Desired, record: ApplyRecord, servedUntil: Instant | null): ApplyRecord["services"] {
  return Object.fromEntries(
    desired.services.map(({ key }) => {
      const known = record.services[key] ?? NO_SERVICE_RECORD;
      return [key, { ...known, preflight: null, servedUntil: known.servedUntil ?? servedUntil }];
    }),
  );
}
