import { readdir, realpath, stat } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { lookUpGroup, lookUpUser } from "../base/accounts.ts";
import { readRegular } from "../base/read-file.ts";
import type { Run } from "../base/run.ts";
import { sha256 } from "../core/hash.ts";
import type { Desired } from "../core/ports.ts";
import { isMisnamed, MISNAMED, specNameOf } from "./file-name.ts";
import { type Host, hostFrom } from "./host.ts";
import { anyNames, type HostFacts } from "./host-facts.ts";
import { parseYaml } from "./parse.ts";
import { fileProblem, formatKey, type Problem } from "./problem.ts";
import { settle } from "./settle.ts";
import { LARGEST_FILE, type Position, type Source } from "./source.ts";
import { specFrom } from "./spec.ts";
import { closedTo, distrustOfFile, distrustOfFolder, type Reader, type Trust, unreadable } from "./trust.ts";

export interface CheckOptions {
  /** Files and folders to judge; none means the live folder and the host configuration. */
  readonly paths: readonly string[];
  /** The live folder of specs. */
  readonly folder: string;
  /** The host configuration; also for specs that are judged without one beside them. */
  readonly hostFile: string;
  readonly trust: Trust;
  /** The agent's user, where there is an agent. */
  readonly reader?: Reader | undefined;
  readonly facts: HostFacts;
  readonly run: Run;
}

/** What `certagent check --json` prints. */
export interface CheckResult {
  readonly ok: boolean;
  /** Every file that was read, the host configuration too. */
  readonly files: number;
  readonly problems: readonly Problem[];
  /** What does not keep a spec from being taken. */
  readonly warnings: readonly Problem[];
}

interface Report {
  readonly options: CheckOptions;
  readonly problems: Problem[];
  readonly warnings: Problem[];
  /** Folders in force that were judged already. */
  readonly folders: Set<string>;
  files: number;
}

/** A file that could be parsed as YAML. */
interface Loaded {
  readonly source: Source;
  readonly digest: string;
}

interface Judged {
  readonly desired: Desired;
  readonly source: Source;
  readonly places: readonly Position[];
}

/**
 * Judges host configuration and specs as the daemon would. Away from the live folder owners and modes are warnings, and
 * what a file is (host configuration or spec) is seen from its keys. Never rejects for what stands on disk.
 */
export async function check(options: CheckOptions): Promise<CheckResult> {
  const report: Report = { options, problems: [], warnings: [], folders: new Set(), files: 0 };
  const isLive = options.paths.length === 0;
  const files: string[] = [];
  for (const path of isLive ? [options.folder] : options.paths) files.push(...(await filesOf(report, path)));
  const loaded: Loaded[] = [];
  for (const file of new Set(files)) loaded.push(...(await load(report, file)));
  const hosts = isLive ? [] : loaded.filter(({ source }) => isHost(source.data));
  const host = await judgeHosts(report, hosts);
  const specs: Judged[] = [];
  for (const { source, digest } of loaded.filter((file) => !hosts.includes(file))) {
    const name = specNameOf(basename(source.file)) ?? basename(source.file);
    const { desired, problems, warnings, places } = specFrom(source, { name, digest, host });
    // One that was named by itself; of a folder they were told, and are not read.
    if (isMisnamed(basename(source.file))) report.problems.push(fileProblem(source.file, MISNAMED));
    report.problems.push(...problems);
    report.warnings.push(...warnings);
    if (desired !== undefined) specs.push({ desired, source, places });
  }
  await judgeTogether(report, specs);
  await judgeAccounts(report, specs);
  await judgeUnits(report, specs);
  const { problems, warnings } = report;
  return {
    ok: problems.length === 0,
    files: report.files,
    problems: problems.toSorted(byPlace),
    warnings: warnings.toSorted(byPlace),
  };
}

function byPlace(a: Problem, b: Problem): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0);
}

async function filesOf(report: Report, path: string): Promise<readonly string[]> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = (await readdir(path)).toSorted();
    report.problems.push(...names.filter(isMisnamed).map((name) => fileProblem(join(path, name), MISNAMED)));
    if (await isLive(report, path)) await judgeFolder(report, path);
    const specs = names.filter((name) => specNameOf(name) !== undefined);
    if (specs.length === 0) report.warnings.push(fileProblem(path, "there is no spec in this folder"));
    return specs.map((name) => join(path, name));
  } catch (error) {
    report.problems.push(unreadable(path, error));
    return [];
  }
}

/** The daemon believes nothing in a folder that others may change, and cannot read in one that is closed to it. */
async function judgeFolder(report: Report, path: string): Promise<void> {
  const folder = resolve(path);
  if (report.folders.has(folder)) return;
  report.folders.add(folder);
  const distrust = await distrustOfFolder(folder, report.options.trust);
  if (distrust !== undefined) report.problems.push(fileProblem(path, distrust.message, distrust.hint));
  await judgeReach(report, path);
}

/** Whether a path is what the daemon reads, however it is spelled. So is a link that lies there, which it refuses. */
async function isLive({ options }: Report, path: string): Promise<boolean> {
  const places = [path, dirname(path), options.folder, options.hostFile];
  const [real = "", parent = "", folder = "", host] = await Promise.all(
    places.map((place) => realpath(place).catch(() => place)),
  );
  return real === host || [real, parent].some((place) => !relative(folder, place).startsWith(".."));
}

async function load(report: Report, file: string): Promise<readonly Loaded[]> {
  try {
    const live = await isLive(report, file);
    if (live) await judgeFolder(report, dirname(file));
    const { bytes, stat: found } = await readRegular(live ? file : await realpath(file), LARGEST_FILE);
    report.files += 1;
    const distrust = distrustOfFile(file, found, report.options.trust);
    const complaints = live ? report.problems : report.warnings;
    if (distrust !== undefined) complaints.push(fileProblem(file, distrust.message, distrust.hint));
    if (live) await judgeReach(report, file);
    const { facts } = report.options;
    const parsed = parseYaml(bytes, file, live ? facts : anyNames(facts));
    if ("source" in parsed) {
      return [{ source: parsed.source, digest: sha256(bytes) }];
    }
    report.problems.push(...parsed.problems);
  } catch (error) {
    report.problems.push(unreadable(file, error));
  }
  return [];
}

/** Root reads everything: that the agent may not has to be said. */
async function judgeReach({ options, warnings }: Report, path: string): Promise<void> {
  const closed = options.reader && closedTo(options.reader, path, await stat(path));
  if (closed !== undefined) warnings.push(fileProblem(path, closed.message, closed.hint));
}

function isHost(data: unknown): boolean {
  if (typeof data !== "object" || data === null) return false;
  if ("subject" in data || "outputs" in data) return false;
  return "issuers" in data || "default_issuer" in data || "metrics" in data;
}

/** The host configuration that specs are judged with: the first that was named, else the live one. */
async function judgeHosts(report: Report, named: readonly Loaded[]): Promise<Host | undefined> {
  const { hostFile, paths } = report.options;
  if (named.length === 0 && paths.length > 0 && !(await exists(hostFile))) {
    const hint = "name one beside the specs: certagent check certagent.yaml specs/";
    report.warnings.push(fileProblem(hostFile, "there is no host configuration, so issuers were not judged", hint));
    return undefined;
  }
  const loaded = named.length > 0 ? named : await load(report, hostFile);
  const results = loaded.map(({ source, digest }) => hostFrom(source, digest));
  report.problems.push(...results.flatMap(({ problems }) => problems));
  report.warnings.push(...results.flatMap(({ warnings }) => warnings));
  return results[0]?.host;
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}

/** Two specs of one folder for one file: on a host both are refused; elsewhere they may be meant for two hosts. */
async function judgeTogether(report: Report, specs: readonly Judged[]): Promise<void> {
  for (const [folder, group] of Map.groupBy(specs, ({ desired }) => dirname(desired.file))) {
    const candidates = group.map(({ desired, places }) => {
      const { name, file } = desired;
      return { name, file, current: desired, problems: [], places, lastGood: () => Promise.resolve(undefined) };
    });
    const entries = await settle(candidates, new Map());
    const problems = [...entries.values()].flatMap((entry) => entry.problems);
    ((await isLive(report, folder)) ? report.problems : report.warnings).push(...problems);
  }
}

/** Users and groups that this host does not have: they may come with a package, so it is only said. */
async function judgeAccounts(report: Report, specs: readonly Judged[]): Promise<void> {
  const { run } = report.options;
  const known = new Map<string, boolean>();
  const judge = async (source: Source, kind: "user" | "group", name: string, path: readonly PropertyKey[]) => {
    const id = `${kind} ${name}`;
    const look = kind === "user" ? lookUpUser : lookUpGroup;
    if (!known.has(id)) known.set(id, (await look(name, run)) !== undefined);
    if (known.get(id) === true) return;
    const message = `there is no ${id} on this host`;
    const hint = "nothing is issued until there is; it may come with a package";
    report.warnings.push({ file: source.file, ...source.valueAt(path), key: formatKey(path), message, hint });
  };
  for (const { desired, source } of specs) {
    for (const [index, { owner, group, acl }] of desired.outputs.entries()) {
      const at = ["outputs", index];
      if (owner !== null) await judge(source, "user", owner, [...at, "owner"]);
      if (group !== null) await judge(source, "group", group, [...at, "group"]);
      for (const [entry, { tag, qualifier }] of acl.entries())
        await judge(source, tag, qualifier, [...at, "acl", entry]);
    }
  }
}

/** Units that cannot do what specs ask of them: a drop-in or a package may mend that, so it is only said. */
async function judgeUnits(report: Report, specs: readonly Judged[]): Promise<void> {
  const { run } = report.options;
  // A fleet's specs name the same few units.
  const answers = new Map<string, ReturnType<Run>>();
  const ask: Run = (argv, options) => {
    const question = argv.join(" ");
    const answer = answers.get(question) ?? run(argv, options);
    answers.set(question, answer);
    return answer;
  };
  for (const { desired, source } of specs) {
    for (const [index, service] of desired.services.entries()) {
      const unfit = await service.unfit?.({ ask }, new AbortController().signal);
      if (unfit === undefined) continue;
      const path = ["services", index];
      const { message, hint = null } = unfit;
      report.warnings.push({ file: source.file, ...source.valueAt(path), key: formatKey(path), message, hint });
    }
  }
}
