import { basename, dirname, join, resolve } from "node:path";
import { fileCalls } from "../base/file-calls.ts";
import { isOurs } from "../base/trusted-folder.ts";
import type { Desired } from "../core/ports.ts";
import { fileProblem, type Problem } from "./problem.ts";
import type { Position } from "./source.ts";

const MOST_LINKS = 20;

/** One spec as it is in force now. */
export interface SpecEntry {
  readonly name: string;
  readonly file: string;
  /** What is in force; undefined where nothing of it ever was, or can be any more. */
  readonly desired: Desired | undefined;
  /** Why the file as it is now is not in force; empty where it is. */
  readonly problems: readonly Problem[];
  /** Whether an earlier text is in force instead of the file. */
  readonly usingLastGood: boolean;
}

/** What one file could put in force. */
export interface Candidate {
  readonly name: string;
  readonly file: string;
  /** What the file says; undefined where it has problems. */
  readonly current: Desired | undefined;
  readonly problems: readonly Problem[];
  /** Where the paths of its outputs stand. */
  readonly places: readonly Position[];
  /** What was last in force, where that is known. */
  readonly lastGood: () => Promise<Desired | undefined>;
}

/**
 * Decides what is in force: the file, else what was last in force, else nothing. Of specs that want one file the one
 * that has deployed it (`owners`: path → spec) stays, the others step back; where none has, all step back.
 */
export async function settle(
  candidates: readonly Candidate[],
  owners: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, SpecEntry>> {
  const entries = new Map<string, SpecEntry>();
  for (const candidate of candidates) entries.set(candidate.name, await firstChoice(candidate));
  // Each round takes a choice from somebody who has at most two, so it ends.
  for (;;) {
    const inForce = [...entries.values()].flatMap(({ desired }) => desired ?? []);
    const conflicts = await findConflicts(inForce, owners);
    if (conflicts.size === 0) return entries;
    for (const candidate of candidates) {
      const [entry, conflict] = [entries.get(candidate.name), conflicts.get(candidate.name)];
      if (entry !== undefined && conflict !== undefined) {
        entries.set(candidate.name, await stepBack(entry, candidate, conflict));
      }
    }
  }
}

async function firstChoice({ name, file, current, problems, lastGood }: Candidate): Promise<SpecEntry> {
  const desired = current ?? (await lastGood());
  return { name, file, desired, problems, usingLastGood: current === undefined && desired !== undefined };
}

async function stepBack(entry: SpecEntry, candidate: Candidate, conflict: Conflict): Promise<SpecEntry> {
  const problems = [...entry.problems, conflictProblem(entry, candidate, conflict)];
  const earlier = entry.usingLastGood ? undefined : await candidate.lastGood();
  const desired = earlier?.digest === entry.desired?.digest ? undefined : earlier;
  return { ...entry, desired, problems, usingLastGood: desired !== undefined };
}

function conflictProblem(entry: SpecEntry, { places }: Candidate, conflict: Conflict): Problem {
  const { path, output, other, isTaken } = conflict;
  const isOwn = other === entry.name;
  const has = isTaken ? `is deployed by spec ${other}` : `is wanted by spec ${other} too`;
  const message = isOwn ? `${path} leads to the file of another output of this spec` : `${path} ${has}`;
  const hint = isOwn ? "write each file once" : `change the path, or remove the output from one of the two`;
  const place = entry.usingLastGood ? undefined : places[output];
  if (place === undefined) return fileProblem(entry.file, message, hint);
  return { file: entry.file, ...place, key: `outputs[${output}].path`, message, hint };
}

/** A spec that asks for a file that is another's, or its own for the second time. */
interface Conflict {
  readonly path: string;
  /** Which of its outputs. */
  readonly output: number;
  /** The other spec, or itself. */
  readonly other: string;
  /** Whether the other one has deployed the file, so that it stays in force. */
  readonly isTaken: boolean;
}

interface Claim {
  readonly spec: string;
  readonly path: string;
  readonly output: number;
}

/** The specs that lose a file to another, however the two spell its path; each with its first conflict. */
async function findConflicts(
  specs: readonly Desired[],
  owners: ReadonlyMap<string, string>,
): Promise<ReadonlyMap<string, Conflict>> {
  const claims = new Map<string, Claim[]>();
  const folders = new Map<string, string>();
  for (const { name, outputs } of specs) {
    for (const [output, { path }] of outputs.entries()) {
      const file = `${await identityOf(dirname(path), folders)}/${basename(path)}`;
      const claim = { spec: name, path, output };
      const others = claims.get(file);
      if (others === undefined) claims.set(file, [claim]);
      else others.push(claim);
    }
  }
  const conflicts = new Map<string, Conflict>();
  for (const group of claims.values()) {
    if (group.length === 1) continue;
    const owner = group.find(({ spec, path }) => owners.get(path) === spec)?.spec;
    for (const [index, claim] of group.entries()) {
      const conflict = conflictOf(claim, group, index, owner);
      if (conflict !== undefined && !conflicts.has(claim.spec)) conflicts.set(claim.spec, conflict);
    }
  }
  return conflicts;
}

function conflictOf(
  { spec, path, output }: Claim,
  group: readonly Claim[],
  index: number,
  owner: string | undefined,
): Conflict | undefined {
  const isSecond = group.findIndex((claim) => claim.spec === spec) < index;
  if (isSecond) return { path, output, other: spec, isTaken: false };
  const rival = group.find((claim) => claim.spec !== spec);
  if (rival === undefined || spec === owner) return undefined;
  return { path, output, other: owner ?? rival.spec, isTaken: owner !== undefined };
}

/**
 * The same for every spelling of a folder: root's links, bind mounts. What is not there yet counts by its name, and so does
 * a link that another user could have put there: nothing is written through it, and it must not lead to the file of
 * another spec, which would then be refused.
 */
async function identityOf(folder: string, known: Map<string, string>): Promise<string> {
  const cached = known.get(folder);
  if (cached !== undefined) return cached;
  const place = await placeOf(folder, { links: MOST_LINKS });
  const found = await fileCalls.lstat(place).catch(() => undefined);
  const identity =
    found === undefined && place !== "/"
      ? `${await identityOf(dirname(place), known)}/${basename(place)}`
      : `${found?.dev}:${found?.ino}`;
  known.set(folder, identity);
  return identity;
}

/** A path without the links that nobody but root, or the user that certagent runs as, can have made. */
async function placeOf(path: string, left: { links: number }): Promise<string> {
  if (path === "/") return path;
  const above = await placeOf(dirname(path), left);
  const place = join(above, basename(path));
  try {
    const [folder, found] = [await fileCalls.lstat(above), await fileCalls.lstat(place)];
    if (!found.isSymbolicLink() || !isOurs(found.uid) || !isOurs(folder.uid) || left.links-- <= 0) return place;
    return await placeOf(resolve(above, await fileCalls.readlink(place)), left);
  } catch {
    return place; // it is not there
  }
}
