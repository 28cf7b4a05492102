/** What programs do that know of no danger, in place of what certagent does: each must be caught. */
import { constants } from "node:fs";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import { type Files, nodeFiles } from "../../src/base/atomic-file.ts";
import { parseGeneration } from "../../src/store/generations.ts";
import { NAME } from "../integration/apply/harness.ts";
import { generationsScene, outputsScene, type ReadGeneration, requestsScene, type Scene, type Take } from "./scenes.ts";

export interface Planted {
  readonly name: string;
  readonly scene: () => Promise<Scene>;
}

const FIFO_SAFE = constants.O_RDONLY | constants.O_NONBLOCK;

/** Looks first and opens then, by path. */
const readByPath: ReadGeneration = async ({ layout }) => {
  const path = join(layout.agent.generations(NAME), "1.json");
  const { isRegular } = await fs.lstat(path).then((stat) => ({ isRegular: stat.isFile() && stat.nlink === 1 }));
  if (!isRegular) return undefined;
  await using file = await fs.open(path, FIFO_SAFE);
  return parseGeneration(await file.readFile(), path, 1);
};

const takeByPath: Take = async (folder) => {
  const taken: { token: string }[] = [];
  for (const name of await fs.readdir(folder)) {
    const path = join(folder, name);
    const stat = await fs.lstat(path).catch(() => undefined);
    if (stat?.isFile() && stat.size <= 128) {
      await using file = await fs.open(path, FIFO_SAFE);
      taken.push({ token: (await file.readFile()).toString("latin1") });
    }
    await fs.rm(path, { recursive: true, force: true });
  }
  return { taken, junk: 0 };
};

/** Mode and owner go to whatever has the name by now. */
const accessByPath: Files = {
  ...nodeFiles,
  chmod: async (file, mode) => await fs.chmod(await pathOf(file.fd), mode),
  chown: async (file, uid, gid) => await fs.chown(await pathOf(file.fd), uid, gid),
};

async function pathOf(fd: number): Promise<string> {
  return (await fs.readlink(`/proc/self/fd/${fd}`)).replace(/ \(deleted\)$/, "");
}

/** Folders are reached by their paths each time, not held. */
function walkByPath(): Files {
  const paths = new Map<number, string>();
  const plain = (path: string): string =>
    path
      .replace(/^\/proc\/self\/fd\/(\d+)(?=\/)/, (_, fd: string) => paths.get(Number(fd)) ?? "")
      .replace(/\/\.$/, "") || "/";
  return {
    ...nodeFiles,
    open: async (path, flags, mode) => {
      const file = await nodeFiles.open(plain(path), flags, mode);
      paths.set(file.fd, plain(path) === "/" ? "" : plain(path));
      return file;
    },
    lstat: (path) => nodeFiles.lstat(plain(path)),
    readlink: (path) => nodeFiles.readlink(plain(path)),
    readdir: (path) => nodeFiles.readdir(plain(path)),
    mkdir: (path, mode) => nodeFiles.mkdir(plain(path), mode),
    symlink: (target, path) => nodeFiles.symlink(target, plain(path)),
    unlink: (path) => nodeFiles.unlink(plain(path)),
    rename: (from, to) => nodeFiles.rename(plain(from), plain(to)),
  };
}

export const PLANTED: readonly Planted[] = [
  { name: "generations are opened by path", scene: () => generationsScene(readByPath) },
  { name: "requests are opened by path", scene: () => requestsScene(takeByPath) },
  { name: "access is set by path", scene: () => outputsScene(accessByPath) },
  { name: "folders are walked by path", scene: () => outputsScene(walkByPath()) },
];
