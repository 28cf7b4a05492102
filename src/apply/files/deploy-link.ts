/**
 * `layout: link`: the outputs are links into `live/NAME/current`, itself a link to a folder that holds one complete set.
 * One rename of `current` switches all of them at once.
 */
import { basename, dirname, join } from "node:path";
import {
  isTemporary,
  publishFolder,
  replaceLink,
  replaceLinkIn,
  stage,
  temporaryPath,
} from "../../base/atomic-file.ts";
import { asAgentError } from "../../base/errors.ts";
import type { FileStat } from "../../base/file-calls.ts";
import { isMissing, rethrow } from "../../base/file-error.ts";
import { makeFolder, makeFolders, openFolder, removeFolder } from "../../base/folder.ts";
import { reachOrMake } from "../../base/trusted-folder.ts";
import { sha256 } from "../../core/hash.ts";
import type { Desired } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import { type Change, surroundingsOf } from "./change.ts";

/** Complete sets that are kept beside the one in force. */
const SETS_KEPT = 2;
const FOLDER_MODE = 0o711;

/** A change, and where the link at its path is to lead. */
interface Linked extends Change {
  readonly link: string | null;
}

/** The names that a path's file may have in a set: the path's own, and one with a digest where two share that. */
function namesFor(path: string): readonly [string, string] {
  const name = basename(path);
  return [name, `${sha256(path).slice(0, 8)}-${name}`];
}

/** Whether a path's file may have had the name `found` in the set where it is to have the name `link`. */
export function isLinkTo(found: string, link: string, path: string): boolean {
  return namesFor(path).some((name) => found === join(dirname(link), name));
}

/** Where the link at each path leads. */
export function liveLinks(
  { layout }: Pick<Host, "layout">,
  name: string,
  paths: readonly string[],
): ReadonlyMap<string, string> {
  const all = paths.map((path) => basename(path));
  const links = paths.map((path) => {
    const [own, marked] = namesFor(path);
    const isShared = all.filter((other) => other === own).length > 1;
    return [path, join(layout.live, name, "current", isShared ? marked : own)] as const;
  });
  return new Map(links);
}

/**
 * Makes all outputs of a spec true at once; `changes` are all of them. What stands there as plain files becomes a set of
 * its own first, then links to it, so that at every instant the paths show one whole set. Answers what each path leads to.
 */
export async function deployLink(
  host: Host,
  { name, services }: Pick<Desired, "name" | "services">,
  generation: number,
  changes: readonly Linked[],
  made: (path: string) => void,
): Promise<ReadonlyMap<string, FileStat>> {
  const home = join(host.layout.live, name);
  await makeFolders(home, { mode: FOLDER_MODE }, host.files);
  const readers = services.map(({ key }) => key);
  const switchTo = (set: string) => host.turns(readers, "files", () => flip(host, home, set));

  const there = changes.filter(({ before }) => before.kind === "file");
  const isLinked = ({ before, link }: Linked): boolean => before.kind !== "missing" && before.link === link;
  const toConvert = there.filter((change) => !isLinked(change));
  if (toConvert.length > 0) {
    const found = there.flatMap((change) =>
      change.before.kind === "file" ? [{ ...change, bytes: change.before.bytes }] : [],
    );
    await switchTo(await buildSet(host, home, 0, found));
    await pointAll(host, toConvert, made);
  }

  await switchTo(await buildSet(host, home, generation, changes));
  await pointAll(
    host,
    changes.filter((change) => !isLinked(change) && !toConvert.includes(change)),
    made,
  );
  await prune(host, name).catch((error: unknown) => tellOfLeft(host, name, error));
  return await statsOf(host, changes);
}

/**
 * What a set holds, by its names. Where another path of the same name came or went, the link that is there leads to the
 * other name yet: it finds its file by that as well.
 */
function filesOf(home: string, changes: readonly Linked[]): ReadonlyMap<string, Linked> {
  const files = new Map(changes.map((change) => [basename(change.link ?? ""), change]));
  for (const change of changes) {
    const { path, before } = change;
    const name = namesFor(path).find((one) => before.kind !== "missing" && before.link === join(home, "current", one));
    if (name !== undefined && !files.has(name)) files.set(name, change);
  }
  return files;
}

/** A complete, durable folder with a name of its own; answers that name. */
async function buildSet(host: Host, home: string, generation: number, contents: readonly Linked[]): Promise<string> {
  const temporary = temporaryPath(home);
  await makeFolder(temporary, { mode: FOLDER_MODE }, host.files);
  try {
    await using folder = await openFolder(temporary, host.files);
    for (const [name, { bytes, access }] of filesOf(home, contents)) {
      const options = { ...access, ...surroundingsOf(host) };
      await using staged = await stage(folder, name, bytes, options);
      await staged.publish();
    }
    await folder.sync();
    const set = await freeName(host, home, generation);
    await publishFolder(temporary, join(home, set), host.files);
    return set;
  } catch (error) {
    await removeFolder(temporary, host.files).catch(() => {}); // the sweep at the next start does it
    throw error;
  }
}

/** `3`, and `3.1` where generation 3 was deployed before. */
async function freeName(host: Host, home: string, generation: number): Promise<string> {
  const taken = new Set(await namesIn(host, home));
  for (let again = 0; ; again++) {
    const set = again === 0 ? `${generation}` : `${generation}.${again}`;
    if (!taken.has(set)) return set;
  }
}

async function flip(host: Host, home: string, set: string): Promise<void> {
  await replaceLink(set, join(home, "current"), host.files);
}

/** In the order given: the key first. */
async function pointAll(host: Host, changes: readonly Linked[], made: (path: string) => void): Promise<void> {
  for (const { path, owner, link } of changes) {
    await using folder = await reachOrMake(dirname(path), owner, host.files, made);
    await replaceLinkIn(folder, basename(path), link ?? "", host.files);
    await folder.sync();
  }
}

/** Removes all but the set in force and the latest two beside it. */
async function prune(host: Host, name: string): Promise<void> {
  const home = join(host.layout.live, name);
  const current = await host.files.readlink(join(home, "current"));
  const sets: { readonly name: string; readonly made: bigint }[] = [];
  for (const set of await namesIn(host, home)) {
    if (!/^\d+(\.\d+)?$/.test(set) || set === current) continue;
    sets.push({ name: set, made: (await host.files.lstat(join(home, set))).ctimeNs });
  }
  const old = sets.toSorted((a, b) => (a.made > b.made ? -1 : 1)).slice(SETS_KEPT);
  for (const { name: set } of old) await removeFolder(join(home, set), host.files);
}

/** What nothing leads to any more harms nobody: it is removed another time. */
function tellOfLeft({ log }: Host, certificate: string, error: unknown): void {
  const { message, hint } = asAgentError(error);
  log.warning("cannot remove what is no longer in force", { certificate, reason: message, hint });
}

async function statsOf(host: Host, changes: readonly Linked[]): Promise<ReadonlyMap<string, FileStat>> {
  const stats = new Map<string, FileStat>();
  for (const { path, link } of changes) {
    stats.set(path, await host.files.lstat(link ?? "").catch(rethrow("look at", link ?? "")));
  }
  return stats;
}

async function namesIn(host: Host, folder: string): Promise<readonly string[]> {
  return await host.files.readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
}

/** Removes what a spec's links led to, once no output is a link any more. */
export async function removeSets(host: Host, name: string): Promise<void> {
  const home = join(host.layout.live, name);
  const isGone = await host.files.lstat(home).then(() => false, isMissing);
  if (!isGone) await removeFolder(home, host.files).catch((error: unknown) => tellOfLeft(host, name, error));
}

/** Removes sets of this spec that were never finished. */
export async function sweepSets(host: Host, name: string): Promise<void> {
  const home = join(host.layout.live, name);
  for (const entry of await namesIn(host, home)) {
    const path = join(home, entry);
    if (!isTemporary(entry)) continue;
    if ((await host.files.lstat(path)).isDirectory()) await removeFolder(path, host.files);
    else await host.files.unlink(path);
  }
}
