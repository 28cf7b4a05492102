/**
 * Another user, who swaps what the root side is just looking at, as fast as it can, until it is ended. Run by `node -e`
 * with its text, as that user may not read this folder; says a dot on standard output for each hundred swaps.
 */
import * as fs from "node:fs";
import { dirname, join } from "node:path";

const [kind = "", folder = "", bait = "", baitFolder = "", fifo = ""] = process.argv.slice(1);

/** Never into what is there already: that may be a FIFO, and who waits for its reader swaps no more. */
function write(at: string, content: string): void {
  fs.writeFileSync(at, content, { flag: "wx" });
}

function honest(): string {
  return fs.readFileSync(join(folder, "honest.json"), "utf8");
}

/** One of several, with equal chances. */
function oneOf<T>(...all: readonly [T, ...T[]]): T {
  return all[Math.floor(Math.random() * all.length)] ?? all[0];
}

function attempt(act: () => void): void {
  try {
    act();
  } catch {
    // Whoever was faster: the next swap may do.
  }
}

/** Puts something else in a file's place, at once or with a moment in which nothing has the name. */
function plant(path: string, make: (at: string) => void): void {
  if (Math.random() < 0.5) {
    attempt(() => fs.rmSync(path, { recursive: true, force: true }));
    return attempt(() => make(path));
  }
  const aside = join(dirname(path), "aside");
  attempt(() => fs.rmSync(aside, { recursive: true, force: true }));
  attempt(() => make(aside));
  attempt(() => fs.renameSync(aside, path));
}

const LURES: readonly [(at: string) => void, ...((at: string) => void)[]] = [
  (at) => fs.symlinkSync(bait, at),
  (at) => fs.linkSync(bait, at),
  (at) => fs.linkSync(fifo, at),
  (at) => fs.mkdirSync(at),
  (at) => write(at, "{"),
  (at) => {
    write(at, "{");
    fs.truncateSync(at, 2 ** 30);
  },
];

/** Honest and a link to the bait in turn, each at once: whoever looks first and opens then is caught in between. */
function flicker(path: string, make: (at: string) => void): void {
  const aside = join(dirname(path), "aside");
  for (let turn = 0; turn < 40; turn++) {
    attempt(() => fs.rmSync(aside, { recursive: true, force: true }));
    attempt(() => (turn % 2 === 0 ? make(aside) : fs.symlinkSync(bait, aside)));
    attempt(() => fs.renameSync(aside, path));
  }
}

let aways = 0;

/** For a moment a folder is a link, or another folder. */
function swapFolder(path: string, make: (at: string) => void): void {
  const away = `${path}.away${aways++}`; // what root made there and filled cannot be removed
  attempt(() => fs.renameSync(path, away));
  attempt(() => make(path));
  attempt(() => fs.unlinkSync(path));
  attempt(() => fs.renameSync(away, path));
}

/** Whose folder holds generations: one that is honest comes back now and then, as otherwise nothing would be read. */
function swapGenerations(): void {
  const web = join(folder, "generations", "web");
  const file = join(web, "1.json");
  oneOf(
    () => plant(file, oneOf(...LURES)),
    () => plant(file, (at) => write(at, honest())),
    () => flicker(file, (at) => write(at, honest())),
    () => swapFolder(web, (at) => fs.symlinkSync(join(baitFolder, "web"), at)),
    () => swapFolder(join(folder, "generations"), (at) => fs.symlinkSync(baitFolder, at)),
  )();
}

/** Who owns a folder of outputs: every file in it, and its folder `sub`. `private` is root's, and can be moved. */
function swapOutputs(): void {
  for (const name of fs.readdirSync(folder)) swapOutput(join(folder, name));
  const sub = join(folder, "sub");
  attempt(() => {
    for (const name of fs.readdirSync(sub)) swapOutput(join(sub, name));
  });
  oneOf(
    () => swapFolder(sub, (at) => fs.symlinkSync(baitFolder, at)),
    () => attempt(() => fs.rmSync(sub, { recursive: true })),
    () => movePrivate(sub),
    () => undefined,
  )();
}

function swapOutput(path: string): void {
  const isStaged = /\/\.certagent-[0-9a-f]{16}$/.test(path);
  if (!isStaged && !/\/web\.[a-z]+$/.test(path)) return;
  oneOf(
    () => plant(path, oneOf(...LURES)),
    () => attempt(() => fs.renameSync(path, join(folder, "web.pem"))),
    () => undefined,
  )();
}

function movePrivate(sub: string): void {
  const own = join(folder, "private");
  attempt(() => fs.rmSync(sub, { recursive: true, force: true }));
  attempt(() => fs.renameSync(own, sub));
  if (fs.existsSync(own)) return;
  attempt(() => fs.renameSync(sub, own));
  for (const name of fs.existsSync(own) ? [] : fs.readdirSync(folder)) {
    if (name.startsWith("sub"))
      attempt(() => fs.statSync(join(folder, name)).uid === 0 && fs.renameSync(join(folder, name), own));
  }
}

/** Whose folder holds requests: thousands of everything. */
function swapRequests(): void {
  const name = oneOf(
    "observe",
    "apply@web",
    "adopt@web",
    "failed@web",
    "forget@ca",
    "junk",
    ".certagent-0123456789abcdef",
  );
  const path = join(folder, name);
  oneOf(
    () => plant(path, oneOf(...LURES)),
    () => plant(path, (at) => write(at, "0123")),
    () => flicker(path, (at) => write(at, "0123")),
    () => flicker(path, (at) => write(at, "0123")),
    () => flicker(path, (at) => write(at, "0123")),
    () => plant(path, (at) => fs.mkdirSync(join(at, "a", "b", "c"), { recursive: true })),
    () => {
      plant(path, (at) => fs.mkdirSync(join(at, "deep"), { recursive: true }));
      swapFolder(join(path, "deep"), (at) => fs.symlinkSync(baitFolder, at));
    },
  )();
}

const swaps: Readonly<Record<string, () => void>> = {
  generations: swapGenerations,
  outputs: swapOutputs,
  requests: swapRequests,
};
const swap = swaps[kind] ?? (() => process.exit(2));
const nap = new Int32Array(new SharedArrayBuffer(4));
fs.writeSync(1, "!");
for (;;) {
  for (let i = 0; i < 100; i++) attempt(swap);
  fs.writeSync(1, ".");
  // Now and then all is quiet for a moment: what is attacked must also get to its end.
  if (Math.random() < 0.2) Atomics.wait(nap, 0, 0, Math.random() * 20);
}
