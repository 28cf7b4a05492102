/**
 * The real bundle under SIGKILL, ENOSPC and EIO at the file calls of a renewal with a new key, in both layouts, by
 * strace. Whatever is cut off or fails: a consumer finds one whole pair, old or new, with its owner and mode
 * (`layout: files`: from the next start on, and until then never an old key beside a new certificate), nothing is left
 * behind, and at most one further certificate is issued, none once the chain was stored. Two planted bugs must be caught
 * first. `--all` meets every call, otherwise about 160 in each layout. Ends with `N passed, N failed`.
 *
 * UV_THREADPOOL_SIZE=1 puts all file calls on one thread, since strace counts the calls of each thread for itself.
 */
import { mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bundled } from "../servers/program.ts";
import { type Point, readTrace, spread, TRACED } from "./points.ts";
import { type Ending, makeScene, type Pair, type Scene } from "./scene.ts";

type Layout = "files" | "link";

const everything = process.argv.includes("--all");
const KILLS = everything ? Number.POSITIVE_INFINITY : 160;
const FAILURES = everything ? Number.POSITIVE_INFINITY : 15;
const STRACE = ["/usr/bin/strace", "-f", "-qq"];

interface Tally {
  hit: number;
  missed: number;
  readonly violations: string[];
}

interface PlantedBug {
  readonly name: string;
  /** Text of the bundle that is replaced; it must stand there exactly once. */
  readonly pattern: RegExp;
  readonly instead: string;
  /** The violation that only this bug makes. */
  readonly shows: string;
}

const PLANTED: readonly PlantedBug[] = [
  {
    name: "no intent record",
    pattern: /await writeIntent\(/,
    instead: "await (async () => {})(",
    shows: "not whole after the next start",
  },
  {
    name: "key renamed last",
    pattern: /Number\(b\.output\.format\.holdsKey\) ?- ?Number\(a\.output\.format\.holdsKey\)/,
    instead: "Number(a.output.format.holdsKey) - Number(b.output.format.holdsKey)",
    shows: "the old key beside the new certificate",
  },
];

await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-kill-"));
const bundle = await bundled();
let [passed, failed] = [0, 0];

for (const bug of PLANTED) {
  const caught = (await violationsOfPlanted(bug)).find((violation) => violation.includes(bug.shows));
  console.log(`planted bug "${bug.name}": ${caught === undefined ? "NOT CAUGHT" : `caught (${caught})`}`);
  if (caught !== undefined) passed += 1;
  else failed += 1;
}
const results = await Promise.all([campaign("files"), campaign("link")]);
for (const [name, tally] of results.flat()) {
  const { hit, missed, violations } = tally;
  console.log(`${name}: ${hit + missed} points, ${hit} hit, ${missed} missed, ${violations.length} violations`);
  for (const violation of violations) console.log(`  ${violation}`);
  passed += hit - violations.length;
  failed += violations.length + (hit === 0 || missed > hit / 5 ? 1 : 0);
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

async function violationsOfPlanted({ name, pattern, instead }: PlantedBug): Promise<readonly string[]> {
  const text = await readFile(bundle, "utf8");
  const found = [...text.matchAll(new RegExp(pattern, "g"))];
  if (found.length !== 1) throw new Error(`"${name}" cannot be planted: ${found.length} places look like it`);
  const planted = join(folder.path, `${name.replaceAll(" ", "-")}.mjs`);
  await writeFile(planted, text.replace(pattern, instead));
  await using scene = await makeScene("files", bundle);
  const { changes } = await trace(scene, planted, "planted");
  const tally: Tally = { hit: 0, missed: 0, violations: [] };
  for (const point of changes.filter(({ call }) => call.startsWith("rename")))
    await kill(scene, planted, point, "files", tally);
  return tally.violations;
}

async function campaign(layout: Layout): Promise<readonly (readonly [string, Tally])[]> {
  await using scene = await makeScene(layout, bundle);
  const { calls, changes, between } = await trace(scene, bundle, layout);
  console.log(
    `layout: ${layout}: ${calls} calls in the trace, ${changes.length} change something, ${between.length} lie between`,
  );
  const kills: Tally = { hit: 0, missed: 0, violations: [] };
  const points = [...spread(changes, KILLS), ...spread(between, Math.max(0, KILLS - changes.length))];
  for (const point of points) await kill(scene, bundle, point, layout, kills);
  const tallies: (readonly [string, Tally])[] = [[`layout: ${layout}, SIGKILL`, kills]];
  for (const errno of ["ENOSPC", "EIO"]) {
    const failures: Tally = { hit: 0, missed: 0, violations: [] };
    for (const point of spread(changes, FAILURES)) await fail(scene, point, errno, failures);
    tallies.push([`layout: ${layout}, ${errno}`, failures]);
  }
  return tallies;
}

async function trace(scene: Scene, program: string, name: string) {
  await scene.reset();
  const file = join(folder.path, `${name}.trace`);
  const { code, output } = await scene.once(program, [...STRACE, "-o", file, "-e", `trace=${TRACED.join(",")}`]);
  if (code !== 0) throw new Error(`the renewal does not work even undisturbed:\n${output}`);
  return await readTrace(file);
}

function injecting({ call, at }: Point, what: string): readonly string[] {
  return [...STRACE, "-o", "/dev/null", "-e", `trace=${call}`, "-e", `inject=${call}:${what}:when=${at}`];
}

async function kill(scene: Scene, program: string, point: Point, layout: Layout, tally: Tally): Promise<void> {
  await scene.reset();
  const [old, access, issuedBefore] = [await scene.pair(), await scene.access(), scene.issued()];
  const { signal } = await scene.once(program, injecting(point, "signal=SIGKILL"));
  if (signal === "SIGKILL") tally.hit += 1;
  else tally.missed += 1;

  const violate = (fact: string): void => void tally.violations.push(`SIGKILL at ${point.call} ${point.at}: ${fact}`);
  const cut = await scene.pair();
  const isMixed = cut.kind === "mixed";
  if (cut.kind === "torn" || (isMixed && layout === "link")) violate(`${cut.kind} right after it`);
  if (isMixed && cut.keyId === old.keyId) violate("the old key beside the new certificate");
  if (isMixed) await recoversAlone(scene, program, violate);
  await endsWell(scene, program, old, access, issuedBefore, violate);
}

/** A start that cannot deploy anything, as it finds no generation and no CA, still makes the pair whole. */
async function recoversAlone(scene: Scene, program: string, violate: (fact: string) => void): Promise<void> {
  await scene.hideGenerations();
  await scene.ca.stop();
  await scene.once(program);
  if ((await scene.pair()).kind !== "whole") violate("not whole after the next start");
  await scene.ca.start();
  await scene.showGenerations();
}

async function fail(scene: Scene, point: Point, errno: string, tally: Tally): Promise<void> {
  await scene.reset();
  const [old, access, issuedBefore] = [await scene.pair(), await scene.access(), scene.issued()];
  const ending = await scene.once(bundle, injecting(point, `error=${errno}`));
  tally.hit += 1;
  const violate = (fact: string): void => void tally.violations.push(`${errno} at ${point.call} ${point.at}: ${fact}`);
  if ((await scene.pair()).kind !== "whole") violate("not whole right after it");
  if (/\n\s+at /.test(ending.output)) violate(`a stack trace: ${lastLine(ending)}`);
  await endsWell(scene, bundle, old, access, issuedBefore, violate);
}

/** The next undisturbed run makes everything right. */
async function endsWell(
  scene: Scene,
  program: string,
  old: Pair,
  access: string,
  issuedBefore: number,
  violate: (fact: string) => void,
): Promise<void> {
  const wasStored = await scene.isStored();
  const issuedAtCut = scene.issued();
  const ending = await scene.once(program);
  const pair = await scene.pair();
  if (ending.code !== 0) violate(`the next run ends with ${ending.code}: ${lastLine(ending)}`);
  if (pair.kind !== "whole" || pair.leaf === old.leaf)
    violate(`the next run leaves a ${pair.kind} pair, new: ${pair.leaf !== old.leaf}`);
  if ((await scene.access()) !== access) violate(`owner or mode: ${await scene.access()}, not ${access}`);
  const further = scene.issued() - issuedAtCut;
  if (further > (wasStored ? 0 : 1)) violate(`${further} further certificates, stored: ${wasStored}`);
  if (scene.issued() - issuedBefore > 2) violate(`${scene.issued() - issuedBefore} certificates in all`);
  const left = await scene.leftovers();
  if (left.length > 0) violate(`left behind: ${left.join(", ")}`);
}

function lastLine({ output }: Ending): string {
  return output.trim().split("\n").at(-1) ?? "";
}
