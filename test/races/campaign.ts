/**
 * Another user races the root side: the agent's in the folders of its generations and its requests, a service's in a
 * folder of outputs, with links, hard links, FIFOs, folders and renames, as fast as it can. Nothing of root's may change,
 * be read through or copied out, and nothing may hang. Programs that open by path instead must be caught first.
 * `--rounds N` in all (default 6,000), each one thing that the root side does. Ends with `N passed, N failed`.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { MINUTE, pause, systemClock } from "../../src/base/time.ts";
import { PLANTED } from "./planted.ts";
import { generationsScene, outputsScene, requestsScene, type Scene } from "./scenes.ts";

const { values } = parseArgs({ options: { rounds: { type: "string", default: "6000" } } });
const rounds = Number(values.rounds);
/** What a program that opens by path is caught within; most of them are within a hundred. */
const PATIENCE = 20_000;
const HANGS = MINUTE;
const LOOK_EACH = 100;
const ROUNDS_ON_ONE_HOST = 500;

const SCENES: readonly { readonly name: string; readonly share: number; readonly make: () => Promise<Scene> }[] = [
  { name: "generations, from the agent's user", share: 0.4, make: () => generationsScene() },
  { name: "outputs, from a service's user", share: 0.3, make: () => outputsScene() },
  { name: "requests, from the agent's user", share: 0.3, make: () => requestsScene() },
];

if (process.geteuid?.() !== 0) throw new Error("the root side is raced as root");
let [passed, failed] = [0, 0];
for (const { name, scene } of PLANTED) {
  const { violation, round } = await raceAll(scene, PATIENCE);
  console.log(
    `planted bug "${name}": ${violation === undefined ? "NOT CAUGHT" : `caught in round ${round} (${short(violation)})`}`,
  );
  if (violation === undefined) failed += 1;
  else passed += 1;
}
for (const { name, share, make } of SCENES) {
  const { violation, round, refused, swaps } = await raceAll(make, Math.ceil(rounds * share));
  console.log(`${name}: ${round} rounds against ${swaps} swaps, ${refused} refused, ${violation ?? "0 through"}`);
  // Where all or nothing was refused, nothing was raced.
  const isRaced = refused > 0 && refused < round && swaps > round / 4;
  if (!isRaced) console.log("  which is no race");
  passed += violation === undefined && isRaced ? round : 0;
  failed += violation === undefined && isRaced ? 0 : 1;
}
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;

interface Race {
  readonly round: number;
  readonly refused: number;
  readonly swaps: number;
  readonly violation: string | undefined;
}

/** On a fresh host now and then: what attackers leave behind stands in their own way. */
async function raceAll(make: () => Promise<Scene>, most: number): Promise<Race> {
  let [round, refused, swaps] = [0, 0, 0];
  let violation: string | undefined;
  while (violation === undefined && round < most) {
    const next = await race(await make(), Math.min(most - round, ROUNDS_ON_ONE_HOST));
    [round, refused, swaps] = [round + next.round, refused + next.refused, swaps + next.swaps];
    ({ violation } = next);
  }
  return { round, refused, swaps, violation };
}

/** Runs rounds until one of them shows what must not be. */
async function race(scene: Scene, most: number): Promise<Race> {
  await using held = scene;
  await using attacker = await attack(held);
  let [round, refused] = [0, 0];
  let violation: string | undefined;
  while (violation === undefined && round < most) {
    round += 1;
    await attacker.swapped(round / 2);
    try {
      violation = await inTime(held.round(round));
    } catch {
      refused += 1;
    }
    if (round % LOOK_EACH === 0) violation ??= held.look();
  }
  violation ??= held.look();
  return { round, refused, swaps: attacker.swaps(), violation };
}

async function inTime(act: Promise<string | undefined>): Promise<string | undefined> {
  const done = new AbortController();
  const late = pause(HANGS, done.signal).then(() => "it hangs");
  try {
    return await Promise.race([act, late]);
  } finally {
    done.abort();
  }
}

interface Attacker {
  swaps(): number;
  /** Waits until it has swapped so often. */
  swapped(times: number): Promise<void>;
}

async function attack({ attack: argv, user }: Scene): Promise<AsyncDisposable & Attacker> {
  const text = await readFile(new URL("attacker.ts", import.meta.url), "utf8");
  const flags = ["--no-warnings", "--input-type=module-typescript", "-e", text, "--"];
  const child = spawn(process.execPath, [...flags, ...argv], {
    cwd: "/",
    uid: user,
    gid: user,
    stdio: ["ignore", "pipe", "inherit"],
  });
  let dots = 0;
  child.stdout.on("data", (chunk: Buffer) => (dots += chunk.length));
  await once(child.stdout, "data");
  const swaps = (): number => (dots - 1) * 100;
  return {
    swaps,
    swapped: async (times) => {
      const until = systemClock.monotonic() + HANGS;
      while (swaps() < times && systemClock.monotonic() < until) await pause(1);
      if (swaps() < times) throw new Error(`the attacker is stuck after ${swaps()} swaps`);
    },
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null) throw new Error(`the attacker ended with ${child.exitCode}`);
      child.kill("SIGKILL");
      await once(child, "close");
    },
  };
}

function short(text: string): string {
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
