/**
 * `layout: link`: the outputs are links into `live/NAME/current`, itself a link to a folder that holds one complete set.
 * One rename of `current` switches all of them at once.
 */
import { createHash } from "node:crypto";
import { basename, dirname, join } from "node:path";
import { isTemporary, publishFolder, replaceLink, replaceLinkIn, stage, temporaryPath } from "../base/atomic-file.ts";
import type { FileStat } from "../base/file-calls.ts";
import { isMissing } from "../base/file-error.ts";
import { makeFolder, makeFolders, openFolder, removeFolder } from "../base/folder.ts";
import { reachOrMake } from "../base/trusted-folder.ts";
import type { Desired } from "../core/ports.ts";
import { type Change, surroundingsOf } from "./change.ts";
import type { Host } from "./host.ts";

/** Complete sets that are kept beside the one in force. */
const SETS_KEPT = 2;
const FOLDER_MODE = 0o711;

/** For each path of a spec the name of its file in a set: the path's own, with a digest where two share it. */
export function liveNames(paths: readonly string[]): ReadonlyMap<string, string> {
  const names = paths.map((path) => basename(path));
  return new Map(
    paths.map((path, index) => {
      const name = names[index] ?? "";
      const isShared = names.filter((other) => other === name).length > 1;
      const mark = createHash("sha256").update(path).digest("hex").slice(0, 8);
      return [path, isShared ? `${mark}-${name}` : name];
    }),
  );
}

/** Where the link at each path leads. */
export function liveLinks(
  { layout }: Pick<Host, "layout">,
  name: string,
  paths: readonly string[],
): ReadonlyMap<string, string> {
  return new Map([...liveNames(paths)].map(([path, file]) => [path, join(layout.live, name, "current", file)]));
}

/**
 * Makes all outputs of a spec true at once; `changes` are all of them. What stands there as plain files becomes a set of
 * its own first, then links to it, so that at every instant the paths show one whole set. Answers what each path leads to.
 */
export async function deployLink(
  host: Host,
  { name, services }: Pick<Desired, "name" | "services">,
  generation: number,
  changes: readonly Change[],
  made: (path: string) => void,
): Promise<ReadonlyMap<string, FileStat>> {
  const home = join(host.layout.live, name);
  await makeFolders(home, { mode: FOLDER_MODE }, host.files);
  const links = liveLinks(
    host,
    name,
    changes.map(({ path }) => path),
  );
  const readers = services.map(({ key }) => key);
  const switchTo = (set: string) => host.turns(readers, "files", () => flip(host, home, set));
  const isLinked = ({ path, before }: Change): boolean => before.kind !== "missing" && before.link === links.get(path);

  const there = changes.filter(({ before }) => before.kind === "file");
  const toConvert = there.filter((change) => !isLinked(change));
  if (toConvert.length > 0) {
    const found = there.flatMap((change) =>
      change.before.kind === "file" ? [{ ...change, bytes: change.before.bytes }] : [],
    );
    await switchTo(await buildSet(host, home, 0, found, changes));
    await pointAll(host, toConvert, links, made);
  }

  await switchTo(await buildSet(host, home, generation, changes, changes));
  await pointAll(
    host,
    changes.filter((change) => !isLinked(change) && !toConvert.includes(change)),
    links,
    made,
  );
  await prune(host, home);
  return await statsOf(host, links);
}

/** A complete, durable folder with a name of its own; answers that name. */
async function buildSet(
  host: Host,
  home: string,
  generation: number,
  contents: readonly Change[],
  all: readonly Change[],
): Promise<string> {
  const names = liveNames(all.map(({ path }) => path));
  const temporary = temporaryPath(home);
  await makeFolder(temporary, { mode: FOLDER_MODE }, host.files);
  try {
    await using folder = await openFolder(temporary, host.files);
    for (const { path, bytes, access } of contents) {
      const options = { ...access, ...surroundingsOf(host) };
      await using staged = await stage(folder, names.get(path) ?? "", bytes, options);
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
async function pointAll(
  host: Host,
  changes: readonly Change[],
  links: ReadonlyMap<string, string>,
  made: (path: string) => void,
): Promise<void> {
  for (const { path, owner } of changes) {
    await using folder = await reachOrMake(dirname(path), owner, host.files, made);
    await replaceLinkIn(folder, basename(path), links.get(path) ?? "", host.files);
    await folder.sync();
  }
}

/** Removes all but the set in force and the latest two beside it. */
async function prune(host: Host, home: string): Promise<void> {
  const current = await host.files.readlink(join(home, "current"));
  const sets: { readonly name: string; readonly made: bigint }[] = [];
  for (const name of await namesIn(host, home)) {
    if (!/^\d+(\.\d+)?$/.test(name) || name === current) continue;
    sets.push({ name, made: (await host.files.lstat(join(home, name))).ctimeNs });
  }
  const old = sets.toSorted((a, b) => (a.made > b.made ? -1 : 1)).slice(SETS_KEPT);
  for (const { name } of old) await removeFolder(join(home, name), host.files);
}

async function statsOf(host: Host, links: ReadonlyMap<string, string>): Promise<ReadonlyMap<string, FileStat>> {
  const stats = new Map<string, FileStat>();
  for (const [path, target] of links) stats.set(path, await host.files.lstat(target));
  return stats;
}

async function namesIn(host: Host, folder: string): Promise<readonly string[]> {
  return await host.files.readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });
}

/** Removes what a spec's links led to, once no output is a link any more. */
export async function removeSets({ layout, files }: Host, name: string): Promise<void> {
  const home = join(layout.live, name);
  const isGone = await files.lstat(home).then(() => false, isMissing);
  if (!isGone) await removeFolder(home, files);
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
