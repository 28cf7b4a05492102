/** What must stay as it is, whatever is swapped: held open, so that it is found wherever its name is moved to. */
import { randomBytes } from "node:crypto";
import * as fs from "node:fs";
import { join } from "node:path";

export interface Victims extends Disposable {
  /** A file of root's alone, with a secret in it. */
  readonly bait: string;
  /** A folder of root's that everybody may pass through, with files that are called as what is attacked. */
  readonly folder: string;
  /** Also watches a folder or file. */
  watch(path: string): void;
  /** What has changed about them; undefined where nothing has. */
  changed(): string | undefined;
  /** The first file below a folder that holds the secret and is not the bait itself. */
  leakIn(folder: string): string | undefined;
}

/** `files`: what lies in the folder; each must hold the secret `mark`. */
export function makeVictims(place: string, text: string, files: readonly string[], mark: string): Victims {
  const folder = join(place, `victims-${randomBytes(4).toString("hex")}`);
  fs.mkdirSync(folder);
  fs.chmodSync(folder, 0o711);
  const held: { readonly path: string; readonly fd: number; readonly state: string }[] = [];
  const stateOf = (fd: number): string => {
    const { ino, mode, uid, gid, size } = fs.fstatSync(fd);
    const isFile = (mode & fs.constants.S_IFMT) === fs.constants.S_IFREG;
    const content = isFile ? contentOf(fd, size) : "";
    return JSON.stringify({ ino, mode: mode.toString(8), uid, gid, content });
  };
  const watch = (path: string): void => {
    const fd = fs.openSync(path, fs.constants.O_RDONLY);
    held.push({ path, fd, state: stateOf(fd) });
  };
  const paths = files.map((file) => join(folder, file));
  for (const path of paths) {
    fs.mkdirSync(join(path, ".."), { recursive: true });
    fs.writeFileSync(path, text, { mode: 0o600 });
  }
  for (const path of [...paths, folder]) watch(path);
  const names = (): string => fs.readdirSync(folder).toSorted().join(" ");
  const before = names();
  const inodes = new Set(paths.map((path) => fs.lstatSync(path).ino));

  return {
    bait: paths[0] ?? folder,
    folder,
    watch,
    changed: () => {
      const broken = held.find(({ fd, state }) => stateOf(fd) !== state);
      if (names() !== before) return `${folder} holds ${names()}, and held ${before}`;
      return broken && `${broken.path} was ${broken.state}, is ${stateOf(broken.fd)}`;
    },
    leakIn: (where) => filesIn(where).find((path) => holds(path, mark, inodes)),
    [Symbol.dispose]: () => {
      for (const { fd } of held) fs.closeSync(fd);
    },
  };
}

function contentOf(fd: number, size: number): string {
  const bytes = Buffer.alloc(Math.min(size, 65_536));
  return bytes.toString("latin1", 0, fs.readSync(fd, bytes, 0, bytes.length, 0));
}

function filesIn(folder: string): readonly string[] {
  try {
    return fs
      .readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ parentPath, name }) => join(parentPath, name));
  } catch {
    return []; // it was swapped just now
  }
}

function holds(path: string, mark: string, inodes: ReadonlySet<number>): boolean {
  let fd: number | undefined;
  try {
    fd = fs.openSync(path, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW | fs.constants.O_NONBLOCK);
    const { size, ino, mode } = fs.fstatSync(fd);
    const isFile = (mode & fs.constants.S_IFMT) === fs.constants.S_IFREG;
    return isFile && !inodes.has(ino) && contentOf(fd, size).includes(mark);
  } catch {
    return false;
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}
