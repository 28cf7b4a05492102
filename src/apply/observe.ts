import { basename, dirname } from "node:path";
import { grantsText } from "../base/acl.ts";
import { type Failure, failureOf } from "../base/errors.ts";
import type { FileStat } from "../base/file-calls.ts";
import { type Instant, SECOND } from "../base/time.ts";
import { NOBODY } from "../base/trusted-folder.ts";
import type { OutputFacts } from "../core/applier.ts";
import { sha256 } from "../core/hash.ts";
import type { Desired, Generation, Output } from "../core/ports.ts";
import type { ExactAccess } from "./files/access.ts";
import { identityOf } from "./files/change.ts";
import { aclMatters, differenceOfAccess, type Found } from "./files/found.ts";
import { pairIn } from "./files/pair.ts";
import { createFolderCheck } from "./files/room.ts";
import { isAs, lookAt, type OutputPlace, outputPlaces } from "./files/target.ts";
import { createLookInto, type LookInto } from "./files/way.ts";
import type { Host } from "./host.ts";
import type { ApplyRecord } from "./record.ts";

/** What was seen of a spec's outputs. */
export interface OutputsSeen {
  readonly outputs: readonly OutputFacts[];
  /** Whether the files together hold a key and a certificate of it. */
  readonly holdPair: boolean;
  /** What would make a deployment fail before anything is changed. */
  readonly obstacle: Failure | null;
}

/** A file's times tick coarsely: what changed just now could change once more without showing. */
const RACY = 2 * SECOND;

interface Look {
  readonly facts: OutputFacts;
  readonly obstacle: Failure | null;
  readonly bytes: Buffer | null;
  /** Its link of `layout: link` stands there: nothing is ever written in its folder. */
  readonly isLinked: boolean;
}

/** Looks at outputs. What was just made true for a generation is taken from its record, and not rendered again. */
export interface OutputsObserver {
  look(
    desired: Desired,
    record: ApplyRecord,
    number: number | undefined,
    read: () => Promise<Generation>,
  ): Promise<OutputsSeen>;
  applied(desired: Desired, record: ApplyRecord): void;
}

/**
 * Looks at outputs. A file that has not changed since it was looked at, and of which the same is wanted, costs an lstat;
 * where the way to its folder is not root's alone, that way too.
 */
export function createOutputsObserver(host: Host): OutputsObserver {
  const looks = new Map<string, { readonly key: string; readonly look: Look }>();
  const lookInto = createLookInto(host);
  const obstacleOfFolders = createFolderCheck(host, lookInto);
  const digests = new Map<string, { readonly key: string; readonly byPath: ReadonlyMap<string, string> }>();

  /** What a generation looks like in each output; kept, so that an idle look neither reads keys nor renders them. */
  const digestsOf = async (
    desired: Desired,
    { accepted }: ApplyRecord,
    number: number,
    read: () => Promise<Generation>,
  ) => {
    const key = keyOf(desired, accepted, number);
    const known = digests.get(desired.name);
    if (known?.key === key) return known.byPath;
    const generation = await read();
    const byPath = new Map(desired.outputs.map(({ path, format }) => [path, sha256(format.render(generation))]));
    digests.set(desired.name, { key, byPath });
    return byPath;
  };

  const lookOnce = async (desired: Desired, place: OutputPlace, digest: string | undefined) => {
    const { output, link, written } = place;
    const wanted = await host.accessOf(output).catch(() => undefined); // the closer look tells what is wrong with it
    const before = await signatureOf(host, lookInto, place, wanted);
    if (link === null && digest !== undefined && digest === written?.sha256 && before.text === written.identity) {
      const untouched = untouchedLook(output, wanted, before);
      if (untouched !== undefined) return untouched;
    }
    const key = `${before.text} ${desired.digest} ${digest ?? ""} ${written?.identity ?? ""} ${whoseText(wanted)}`;
    const known = looks.get(output.path);
    if (known?.key === key) return known.look;
    const look = await lookClosely(host, lookInto, place, wanted, digest);
    const settled = before.changedAt !== undefined && host.system.clock.now() - before.changedAt > RACY;
    // A remembered look holds no key: bytes are needed only where a pair may be adopted, and those are looked at again.
    if (settled && wanted !== undefined && look.obstacle === null)
      looks.set(output.path, { key, look: { ...look, bytes: null } });
    else looks.delete(output.path);
    return look;
  };

  const look: OutputsObserver["look"] = async (desired, record, number, read) => {
    const wanted = number === undefined ? undefined : await digestsOf(desired, record, number, read);
    const seen: Look[] = [];
    for (const place of outputPlaces(host, desired, record)) {
      const { path } = place.output;
      if (wanted === undefined) looks.delete(path);
      seen.push(await lookOnce(desired, place, wanted?.get(path)));
    }
    const files = seen.flatMap(({ bytes }) => bytes ?? []);
    const obstacle =
      seen.find((look) => look.obstacle !== null)?.obstacle ??
      obstacleOfServices(desired) ??
      (await obstacleOfFolders(desired.outputs.filter((_, index) => seen[index]?.isLinked !== true)));
    return {
      outputs: seen.map(({ facts }) => facts),
      holdPair: wanted === undefined && files.length > 0 && pairIn(files) !== undefined,
      obstacle,
    };
  };

  return {
    look,
    applied: (desired, { deployed, accepted, files }) => {
      const byPath = new Map(desired.outputs.flatMap(({ path }) => (files[path] ? [[path, files[path].sha256]] : [])));
      if (deployed === null || byPath.size < desired.outputs.length) return;
      digests.set(desired.name, { key: keyOf(desired, accepted, deployed), byPath });
    },
  };
}

/** Of which text and generation digests are, and whether that was accepted: else it has not the pinned roots. */
function keyOf({ digest }: Desired, accepted: ApplyRecord["accepted"], number: number): string {
  return [digest, number, accepted[number]].join(" "); // V8 keeps a template's pieces
}

/**
 * The look at a file that stands exactly as certagent wrote it: the record knows what it holds, so nothing is opened.
 * Undefined where its access is not what is wanted, or cannot be told without a look at its ACL.
 */
function untouchedLook(output: Output, wanted: ExactAccess | undefined, { stat }: Signature): Look | undefined {
  if (stat === undefined || wanted === undefined) return undefined;
  const access = { mode: Number(stat.mode & 0o7777n), uid: Number(stat.uid), gid: Number(stat.gid), grants: [] };
  if (aclMatters(access.mode, wanted) || differenceOfAccess(access, wanted) !== undefined) return undefined;
  const facts: OutputFacts = { path: output.path, format: output.format.name, state: "current", because: null };
  return { facts, obstacle: null, bytes: null, isLinked: false };
}

interface Signature {
  readonly text: string;
  readonly changedAt: Instant | undefined;
  /** Of what has the name itself; undefined where nothing has. */
  readonly stat: FileStat | undefined;
}

async function signatureOf(
  host: Host,
  lookInto: LookInto,
  { output, link }: OutputPlace,
  wanted: ExactAccess | undefined,
): Promise<Signature> {
  const stat = await statOf(host, lookInto, output, wanted);
  const target = link === null || stat === undefined ? stat : await host.files.lstat(link).catch(() => undefined);
  if (stat === undefined || target === undefined) return { text: "missing", changedAt: undefined, stat };
  const text = link === null ? identityOf(stat) : `${identityOf(stat)} ${identityOf(target)}`;
  return { text, changedAt: Number(target.ctimeMs), stat };
}

/** Whom an output is for, by number: a name may be another user's since the last look, or nobody's. */
function whoseText(wanted: ExactAccess | undefined): string {
  return wanted === undefined ? "" : [wanted.uid, wanted.gid, grantsText(wanted.grants)].join(":");
}

/** Of what has an output's name itself; undefined where nothing has, or where the way there is not safe. */
async function statOf(
  { files }: Host,
  lookInto: LookInto,
  { path }: Output,
  wanted: ExactAccess | undefined,
): Promise<FileStat | undefined> {
  const look = (at: (name: string) => string) => files.lstat(at(basename(path)));
  return await lookInto(dirname(path), wanted?.uid ?? NOBODY, look).catch(() => undefined);
}

async function lookClosely(
  host: Host,
  lookInto: LookInto,
  place: OutputPlace,
  wanted: ExactAccess | undefined,
  digest: string | undefined,
): Promise<Look> {
  const { output, link } = place;
  const facts = { path: output.path, format: output.format.name };
  try {
    const access = wanted ?? (await host.accessOf(output));
    const found = await lookAt(host, place, access);
    const judged = judge(place, found, digest, access);
    const isLinked = link !== null && found.kind !== "missing" && found.link === link;
    return {
      facts: { ...facts, ...judged },
      obstacle: null,
      bytes: found.kind === "file" ? found.bytes : null,
      isLinked,
    };
  } catch (error) {
    const failure = failureOf(error);
    const isThere = (await statOf(host, lookInto, output, wanted)) !== undefined;
    const state = isThere ? "foreign" : "missing";
    return { facts: { ...facts, state, because: failure.message }, obstacle: failure, bytes: null, isLinked: false };
  }
}

function judge(
  { link, written }: OutputPlace,
  found: Found,
  digest: string | undefined,
  access: ExactAccess,
): Pick<OutputFacts, "state" | "because"> {
  if (found.kind === "missing") return { state: "missing", because: "is missing" };
  const isTouched = found.kind !== "file" || written?.identity !== identityOf(found.stat);
  if (found.kind === "spoilt") return { state: "drifted", because: found.because };
  const since = written === undefined ? "foreign" : isTouched ? "drifted" : "stale";
  if (found.link !== link) {
    const is = found.link === null ? "is a file" : `is a link to ${found.link}`;
    return { state: since, because: `${is}, the spec says ${link === null ? "layout: files" : `a link to ${link}`}` };
  }
  if (found.kind !== "file") return { state: since, because: `is a link to ${found.link}, where nothing is` };
  if (digest !== undefined && isAs(found, digest, access, link)) return { state: "current", because: null };
  if (digest === undefined || sha256(found.bytes) === digest) {
    const difference = differenceOfAccess(found.access, access);
    if (difference !== undefined) return { state: since === "foreign" ? "stale" : since, because: difference };
  }
  const whose = {
    foreign: "holds what certagent did not write",
    drifted: "was changed by somebody else",
    stale: "holds an older generation",
  };
  return { state: since, because: whose[since] };
}

/** An owner or a mode that a service would never take. */
function obstacleOfServices({ services, outputs }: Desired): Failure | null {
  for (const service of services) {
    const error = service.obstacle?.(outputs);
    if (error !== undefined) return failureOf(error);
  }
  return null;
}
