import { basename, dirname } from "node:path";
import { AgentError } from "../../base/errors.ts";
import { isMissing } from "../../base/file-error.ts";
import type { Folder } from "../../base/folder.ts";
import { shellWord } from "../../base/shell-word.ts";
import { NOBODY, type Reached, reach } from "../../base/trusted-folder.ts";
import { sha256 } from "../../core/hash.ts";
import type { Desired, Generation, Output } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import type { ApplyRecord } from "../record.ts";
import type { ExactAccess } from "./access.ts";
import type { Change } from "./change.ts";
import { isLinkTo, liveLinks } from "./deploy-link.ts";
import { differenceOfAccess, type Found, find, MISSING } from "./found.ts";

/** One output of a spec, and what is known of its path before anybody looks there. */
export interface OutputPlace {
  readonly output: Output;
  /** Where its link of `layout: link` leads; null in `layout: files`. */
  readonly link: string | null;
  /** What certagent has written there; undefined where it has written nothing yet. */
  readonly written: ApplyRecord["files"][string] | undefined;
}

/** One output with what it should hold and what stands at its path. */
export interface Target extends Change {
  readonly output: Output;
  readonly link: OutputPlace["link"];
}

/** The places of a spec's outputs, in its order. */
export function outputPlaces(
  host: Pick<Host, "layout">,
  { name, layout, outputs }: Desired,
  { files }: ApplyRecord,
): readonly OutputPlace[] {
  const paths = outputs.map(({ path }) => path);
  const links = layout === "link" ? liveLinks(host, name, paths) : undefined;
  return outputs.map((output) => ({ output, link: links?.get(output.path) ?? null, written: files[output.path] }));
}

/** Renders a generation for its outputs and looks at what stands there, keys first. Throws `DEPLOY_FAILED`. */
export async function targetsOf(
  host: Host,
  desired: Desired,
  generation: Generation,
  record: ApplyRecord,
): Promise<readonly Target[]> {
  const targets: Target[] = [];
  await using stack = new AsyncDisposableStack();
  const ways = new Map<string, Reached>(); // most sets stand in one folder, and the way there has many steps
  for (const place of keysFirst(outputPlaces(host, desired, record))) {
    const { output, link } = place;
    const access = await host.accessOf(output);
    const folder = dirname(output.path);
    const key = `${access.uid} ${folder}`;
    const reached = ways.get(key) ?? stack.use(await reach(folder, access.uid, host.files));
    ways.set(key, reached);
    const before = await lookIn(host, reached, place, access);
    const bytes = output.format.render(generation);
    targets.push({ output, path: output.path, bytes, access, owner: access.uid, before, link });
  }
  return targets;
}

/** That is the order of the renames. */
function keysFirst(places: readonly OutputPlace[]): readonly OutputPlace[] {
  return places.toSorted((a, b) => Number(b.output.format.holdsKey) - Number(a.output.format.holdsKey));
}

/** What stands at an output's path. Throws `DEPLOY_FAILED` where it must not be replaced, or the way there is not safe. */
export async function lookAt(host: Host, place: OutputPlace, access: ExactAccess): Promise<Found> {
  await using reached = await reach(dirname(place.output.path), access.uid, host.files);
  return await lookIn(host, reached, place, access);
}

/** {@link lookAt} in the output's folder. */
async function lookIn(host: Host, reached: Reached, place: OutputPlace, access: ExactAccess): Promise<Found> {
  const { output, link, written } = place;
  refuseOwnFolders(host, output.path, reached.folder.path);
  if (reached.missing !== null) return MISSING;
  const found = await findOwn(host, reached.folder, place, access);
  if (link !== null && found.kind === "link" && found.link === link)
    await requireSafeSets(host, dirname(dirname(link)));
  const isStrange = found.kind === "file" && found.link === null && written === undefined;
  if (isStrange && found.bytes.length > 0 && !output.format.recognizes(found.bytes)) {
    throw new AgentError(
      "DEPLOY_FAILED",
      `Cannot write "${output.path}": it holds something that is no certificate or key`,
      {
        hint: `move it away if nobody needs it, or name another path in the spec: file ${shellWord(output.path)}`,
      },
    );
  }
  return found;
}

/** A file among certagent's own, in another spec's set say, would be written by two. `place`: where its folder really is. */
function refuseOwnFolders({ layout }: Host, path: string, place: string): void {
  const own = [layout.live, layout.agent.folder, layout.apply.folder];
  if (!own.some((folder) => [dirname(path), place].some((one) => `${one}/`.startsWith(`${folder}/`)))) return;
  throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": that folder is certagent's own`, {
    hint: "name a path elsewhere in the spec",
  });
}

/**
 * A set that is not read through its own link, for others may write there: making it anew, again and again, would not help.
 * Throws `DEPLOY_FAILED` where that is so.
 */
async function requireSafeSets({ files }: Host, home: string): Promise<void> {
  const isGone = await files.lstat(home).then(() => false, isMissing);
  if (!isGone) await (await reach(home, NOBODY, files))[Symbol.asyncDispose]();
}

/** Where others of its name came or went, the link at a path leads to the other name in a set yet. */
async function findOwn(
  host: Host,
  folder: Folder,
  { output: { path }, link, written }: OutputPlace,
  access: ExactAccess,
): Promise<Found> {
  const found = await find(host, folder, basename(path), access, link, written !== undefined);
  if (link === null || found.kind !== "link" || !isLinkTo(found.link, link, path)) return found;
  const earlier = await find(host, folder, basename(path), access, found.link);
  // The name may be another path's by now, and whose link it is is not known.
  const isIts = earlier.kind === "file" && sha256(earlier.bytes) === written?.sha256;
  return isIts ? earlier : found;
}

/** Whether nothing is to be done for a target. */
export function isTrue(target: Target): boolean {
  return isAs(target.before, sha256(target.bytes), target.access, target.link);
}

/** Whether what was found holds the bytes of this SHA-256, with this access, behind this link. */
export function isAs(found: Found, digest: string, access: ExactAccess, link: string | null): boolean {
  return (
    found.kind === "file" &&
    found.link === link &&
    sha256(found.bytes) === digest &&
    differenceOfAccess(found.access, access) === undefined
  );
}
