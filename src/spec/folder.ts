import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { failureOf } from "../base/errors.ts";
import { type FileStat, fileCalls } from "../base/file-calls.ts";
import { fileError } from "../base/file-error.ts";
import { sideBySide } from "../base/side-by-side.ts";
import { sha256 } from "../core/hash.ts";
import { isMisnamed, MISNAMED, specNameOf } from "./file-name.ts";
import { type Host, type HostResult, hostFrom } from "./host.ts";
import type { HostFacts } from "./host-facts.ts";
import { keep, type LastGood, openLastGood } from "./last-good.ts";
import { openParsedTexts, type ParsedTexts, parseText } from "./parsed.ts";
import { fileProblem, type Problem } from "./problem.ts";
import { type Candidate, type SpecEntry, settle } from "./settle.ts";
import type { Source } from "./source.ts";
import { type SpecResult, specFrom } from "./spec.ts";
import { distrustOfFolder, readTrusted, type Trust } from "./trust.ts";

export interface SpecFolderOptions {
  /** Where the specs are. */
  readonly folder: string;
  /** The host configuration. */
  readonly hostFile: string;
  /** A folder of this side's own for the texts that were last in force, and what they were parsed to. */
  readonly lastGoodFolder: string;
  readonly trust: Trust;
  readonly facts: HostFacts;
  /** Of certagent: another one may find that a text says something else. */
  readonly version: string;
  /** Only looks: what is in force is not kept for later. */
  readonly readOnly?: boolean;
}

export interface Specs {
  /** Undefined where there is no host configuration that could be used. */
  readonly host: Host | undefined;
  /** By name, in the order of the alphabet. */
  readonly specs: ReadonlyMap<string, SpecEntry>;
  /** Of the host configuration and of the folder; those of a spec are with it. */
  readonly problems: readonly Problem[];
  /** Whether none of them is anybody's slip: this version lacks a kind of issuer that no spec may need. */
  readonly isSound: boolean;
}

/** Path → the spec that has deployed it. */
export type Owners = ReadonlyMap<string, string>;
/** Who they are among specs of these names; asked while those are read. */
export type OwnersOf = (names: readonly string[]) => Promise<Owners>;

export interface SpecFolder {
  /**
   * Reads what has changed. `owners` says which spec has deployed a path: of two that want one file it stays in force.
   * Never rejects for what stands on disk.
   */
  read(context: { readonly owners: OwnersOf }): Promise<Specs>;
}

/** A {@link SpecFolder} whose readings can be told from what stands on disk by now. */
export interface FolderOnDisk extends SpecFolder {
  read(context: { readonly owners: OwnersOf }): Promise<Reading>;
}

/** One reading of a folder on disk. */
export interface Reading extends Specs {
  /** Whether the folder, the host configuration and this spec's file are still as they were read. */
  isCurrent(name: string): Promise<boolean>;
}

/** Files that are read or written at one time. */
const AT_ONE_TIME = 8;

/** The last good host configuration has this name, beside the folder of the last good specs. */
const HOST = "certagent";
/** Beside it, the name of the last default issuer that there was. */
const DEFAULT_ISSUER = "default_issuer";

/** Opens a folder of specs; what was last in force is found again. Readings wait for each other. */
export async function openSpecFolder(options: SpecFolderOptions): Promise<FolderOnDisk> {
  const { lastGoodFolder, readOnly = false } = options;
  const state: State = {
    options,
    lastGoodHost: await openLastGood(lastGoodFolder, options),
    lastGood: await openLastGood(join(lastGoodFolder, "specs"), options),
    parsed: await openParsedTexts(join(lastGoodFolder, "parsed.json"), { ...options, readOnly }),
    host: { identity: undefined, host: undefined, problems: [], isSound: false },
    specs: new Map(),
  };
  let last: Promise<unknown> = Promise.resolve();
  return {
    read: ({ owners }) => {
      const reading = last.then(() => readAll(state, owners));
      last = reading.catch(() => {});
      return reading;
    },
  };
}

function isSame(before: string | undefined, now: string | undefined): boolean {
  return before !== undefined && before === now;
}

interface ReadHost {
  readonly identity: string | undefined;
  readonly host: Host | undefined;
  readonly problems: readonly Problem[];
  readonly isSound: boolean;
}

interface ReadSpec extends Pick<SpecResult, "problems" | "places"> {
  /** Equal for as long as the file is the same; undefined where it was not read. */
  readonly identity: string | undefined;
  /** Of the host configuration that it was judged with. */
  readonly hostDigest: string | undefined;
  readonly current: SpecResult["desired"];
  /** The text, until it is known to be kept. */
  bytes: Uint8Array | undefined;
}

interface State {
  readonly options: SpecFolderOptions;
  readonly lastGoodHost: LastGood;
  readonly lastGood: LastGood;
  readonly parsed: ParsedTexts;
  host: ReadHost;
  specs: ReadonlyMap<string, ReadSpec>;
}

async function readAll(state: State, ownersOf: OwnersOf): Promise<Reading> {
  const { folder, hostFile } = state.options;
  const hostAsRead = await readHost(state);
  state.host = hostAsRead;
  const { host } = hostAsRead;
  const problems = [...hostAsRead.problems];
  const identity = await identityOf(join(folder, "/"));
  const { names, problems: ofFolder } = await listFolder(state.options);
  problems.push(...ofFolder);
  // A folder that vanished must not stop renewals: then everything that was in force stays.
  const known = names ?? [...new Set([...state.specs.keys(), ...state.lastGood.names()])].toSorted();
  const read = names === undefined ? remembered(state, known, ofFolder) : readSpecs(state, known);
  const [owners, specsAsRead] = await Promise.all([ownersOf(known), read]);
  state.specs = specsAsRead;
  const candidates = [...state.specs].map(([name, read]): Candidate => {
    const file = join(folder, `${name}.yaml`);
    const { current, problems: found, places } = read;
    return { name, file, current, problems: found, places, lastGood: () => lastGoodOf(state, name, file) };
  });
  const specs = await settle(candidates, owners);
  problems.push(...(await keepTexts(state, specs)));
  if (names !== undefined) await forgetOthers(state.lastGood, specs);
  await state.parsed.keep(new Set([hostFile, ...candidates.map(({ file }) => file)]));
  const isCurrent = async (name: string): Promise<boolean> =>
    isSame(identity, await identityOf(join(folder, "/"))) &&
    isSame(hostAsRead.identity, await identityOf(hostFile)) &&
    isSame(specsAsRead.get(name)?.identity, await identityOf(join(folder, `${name}.yaml`)));
  const isSound = hostAsRead.isSound && problems.length === hostAsRead.problems.length;
  return { host, specs, problems, isSound, isCurrent };
}

async function readHost(state: State): Promise<ReadHost> {
  const { options, lastGoodHost, host: before } = state;
  const { hostFile: file, facts, trust } = options;
  const identity = await identityOf(file);
  if (identity !== undefined && identity === before.identity) return before;
  const read = await readTrusted(file, trust);
  const bytes = "bytes" in read ? read.bytes : undefined;
  const unusable = { host: undefined, isSound: false };
  const result: Omit<HostResult, "warnings"> =
    bytes === undefined
      ? { ...unusable, problems: "problem" in read ? [read.problem] : [] }
      : { ...unusable, ...(await state.parsed.judged(file, bytes, judgeHost(bytes))) };
  if (bytes !== undefined && result.isSound) {
    const unkept = await keep(lastGoodHost, HOST, bytes, sha256(bytes));
    const issuer = Buffer.from(result.host?.defaultIssuer ?? "");
    if (issuer.length > 0) unkept.push(...(await keep(lastGoodHost, DEFAULT_ISSUER, issuer, sha256(issuer))));
    return {
      identity: unkept.length === 0 ? identity : undefined,
      host: result.host,
      problems: [...result.problems, ...unkept],
      isSound: unkept.length === 0,
    };
  }
  const earlier = await lastGoodHost.load(HOST);
  const parsed = earlier && (await parseText(earlier, file, facts));
  const host = parsed && "source" in parsed ? judgeHost(earlier)(parsed.source).host : undefined;
  return { identity: bytes && identity, host: host ?? result.host, problems: result.problems, isSound: false };
}

async function listFolder({ folder, trust }: SpecFolderOptions): Promise<{ names?: string[]; problems: Problem[] }> {
  try {
    const distrust = await distrustOfFolder(folder, trust);
    if (distrust !== undefined) return { problems: [fileProblem(folder, distrust.message, distrust.hint)] };
    const files = (await readdir(folder)).toSorted();
    const names = files.flatMap((file) => specNameOf(file) ?? []);
    const misnamed = files.filter(isMisnamed).map((file) => fileProblem(join(folder, file), MISNAMED));
    return { names, problems: misnamed };
  } catch (error) {
    const { message, hint } = failureOf(fileError("read", folder, error, "SPEC_INVALID"));
    return { problems: [fileProblem(folder, message, hint)] };
  }
}

async function readSpecs(state: State, names: readonly string[]): Promise<ReadonlyMap<string, ReadSpec>> {
  const read = await sideBySide(AT_ONE_TIME, names, async (name) => ({ name, spec: await readSpec(state, name) }));
  return new Map(read.flatMap(({ name, spec }) => (spec === undefined ? [] : [[name, spec]])));
}

async function readSpec(state: State, name: string): Promise<ReadSpec | undefined> {
  const { options, specs } = state;
  const { host } = state.host;
  const { folder, trust } = options;
  const file = join(folder, `${name}.yaml`);
  const before = specs.get(name);
  const isKnown = before?.identity !== undefined && before.hostDigest === host?.digest;
  if (isKnown && isSame(before.identity, await identityOf(file))) return before;
  const read = await readTrusted(file, trust, "folder was judged");
  const about = { hostDigest: host?.digest, bytes: undefined, current: undefined, places: [] };
  if ("problem" in read)
    return read.isMissing ? undefined : { ...about, identity: undefined, problems: [read.problem] };
  const identity = identityIn(read.stat);
  if (host === undefined) {
    const problem = fileProblem(file, "cannot be used without a host configuration", `see ${options.hostFile}`);
    return { ...about, identity, problems: [problem] };
  }
  const digest = sha256(read.bytes);
  const found = await state.parsed.judged(file, read.bytes, (source) => specFrom(source, { name, digest, host }));
  const { desired, problems, places } = { desired: undefined, places: [], ...found };
  return { ...about, identity, current: desired, problems, places, bytes: read.bytes };
}

function judgeHost(bytes: Uint8Array): (source: Source) => HostResult & Pick<SpecResult, "places"> {
  return (source) => ({ ...hostFrom(source, sha256(bytes)), places: [] });
}

/** What is known of specs whose folder cannot be read. */
function remembered(
  { specs, host: { host } }: State,
  names: readonly string[],
  problems: readonly Problem[],
): ReadonlyMap<string, ReadSpec> {
  const gone = {
    identity: undefined,
    hostDigest: undefined,
    current: undefined,
    places: [],
    bytes: undefined,
    problems,
  };
  return new Map(
    names.map((name) => {
      const spec = specs.get(name);
      const isKnown = spec !== undefined && spec.hostDigest === host?.digest;
      return [name, isKnown ? { ...spec, identity: undefined, problems } : gone];
    }),
  );
}

/**
 * What was last in force. That its issuer has gone from the host configuration, or that there is no default issuer any
 * more, does not end that: files are kept and services looked at as before, and only the next issuance fails.
 */
async function lastGoodOf({ options, lastGood, lastGoodHost, host: { host } }: State, name: string, file: string) {
  const bytes = await lastGood.load(name);
  if (bytes === undefined || host === undefined) return undefined;
  const parsed = await parseText(bytes, file, options.facts);
  if (!("source" in parsed)) return undefined;
  const about = { name, digest: sha256(bytes) };
  const judged = specFrom(parsed.source, { ...about, host }).desired;
  const desired = judged ?? specFrom(parsed.source, { ...about, host: undefined }).desired;
  if (desired === undefined || desired.request.issuer !== "") return desired;
  const issuer = await lastGoodHost.load(DEFAULT_ISSUER);
  return issuer && { ...desired, request: { ...desired.request, issuer: Buffer.from(issuer).toString() } };
}

/** Keeps the texts of what is in force, so that they survive a broken edit and a restart. */
async function keepTexts({ lastGood, specs }: State, entries: ReadonlyMap<string, SpecEntry>): Promise<Problem[]> {
  const kept = await sideBySide(AT_ONE_TIME, [...specs], async ([name, read]) => {
    const entry = entries.get(name);
    if (read.bytes === undefined || entry?.desired === undefined || entry.usingLastGood) return [];
    const problems = await keep(lastGood, name, read.bytes, entry.desired.digest);
    if (problems.length === 0) read.bytes = undefined;
    return problems;
  });
  return kept.flat();
}

async function forgetOthers(lastGood: LastGood, specs: ReadonlyMap<string, SpecEntry>): Promise<void> {
  for (const name of lastGood.names()) {
    if (!specs.has(name)) await lastGood.forget(name).catch(() => {}); // asked again at the next reading
  }
}

/** Equal for as long as nothing about a file has changed, its owner and mode included. */
async function identityOf(file: string): Promise<string | undefined> {
  const stat = await fileCalls.lstat(file).catch(() => undefined);
  return stat && identityIn(stat);
}

function identityIn({ dev, ino, ctimeNs, size }: FileStat): string {
  return [dev, ino, ctimeNs, size].join(":"); // V8 keeps a template's pieces: three times the memory
}
