import { basename, dirname } from "node:path";
import { type Staged, stage } from "../../base/atomic-file.ts";
import type { FileStat } from "../../base/file-calls.ts";
import type { Folder } from "../../base/folder.ts";
import { reachOrMake } from "../../base/trusted-folder.ts";
import { sha256 } from "../../core/hash.ts";
import type { Desired } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import { type Change, putBack, surroundingsOf } from "./change.ts";
import { removeIntent, writeIntent } from "./intent.ts";

/**
 * `layout: files`: every change complete, durable and verified under a temporary name, then an intent, then the renames
 * in the order given, which must have the key first. Answers what then stands at each path. Throws `DEPLOY_FAILED` with
 * everything as it was; where not even that could be restored, the intent stays and is finished later.
 */
export async function deployFiles(
  host: Host,
  { name, services }: Pick<Desired, "name" | "services">,
  generation: number,
  changes: readonly Change[],
  made: (path: string) => void,
): Promise<ReadonlyMap<string, FileStat>> {
  await using stack = new AsyncDisposableStack();
  const folders = new Map<string, Folder>();
  const staged: { readonly change: Change; readonly file: Staged; readonly folder: Folder }[] = [];
  for (const change of changes) {
    const place = dirname(change.path);
    const key = `${change.owner} ${place}`; // who may own the folder depends on whose file it is
    const folder = folders.get(key) ?? stack.use(await reachOrMake(place, change.owner, host.files, made));
    folders.set(key, folder);
    const options = { ...change.access, ...surroundingsOf(host) };
    staged.push({ change, folder, file: stack.use(await stage(folder, basename(change.path), change.bytes, options)) });
  }

  const isSet = staged.length > 1;
  if (isSet) {
    for (const folder of folders.values()) await folder.sync();
    await writeIntent(host, name, { generation, files: staged.map(intended) });
  }
  const publish = () => publishAll(host, name, staged, isSet);
  const readers = services.map(({ key }) => key);
  const stats = isSet ? await host.turns(readers, "files", publish) : await publish();
  for (const folder of folders.values()) await folder.sync();
  if (isSet) await removeIntent(host, name);
  return stats;
}

type Ready = { readonly change: Change; readonly file: Staged; readonly folder: Folder };

function intended({ change, file }: Ready) {
  const { path, bytes, owner } = change;
  return { path, temporary: file.temporary, sha256: sha256(bytes), owner };
}

async function publishAll(
  host: Host,
  name: string,
  staged: readonly Ready[],
  isSet: boolean,
): Promise<ReadonlyMap<string, FileStat>> {
  const stats = new Map<string, FileStat>();
  try {
    for (const { change, file } of staged) stats.set(change.path, await file.publish());
    return stats;
  } catch (error) {
    const done = staged.filter(({ file }) => file.published()).toReversed();
    for (const { change, folder } of done) await putBack(host, folder, change);
    for (const { folder } of done) await folder.sync();
    const isAsBefore = done.every(({ change }) => change.before.kind !== "spoilt");
    if (isSet && isAsBefore) await removeIntent(host, name);
    throw error;
  }
}
