import { readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

/** Whether a path in a service's configuration is one of these, be it by a link in its place or on the way to it. */
export async function createIsOneOf(paths: Iterable<string>): Promise<(path: string) => Promise<boolean>> {
  const wanted = new Set(await Promise.all([...paths].map(placeOf)));
  return async (path) => wanted.has(await placeOf(path)) || wanted.has(await placeOf(await linkedFrom(path)));
}

/** What a link leads to, be that there yet or not; the path itself where it is none. */
async function linkedFrom(path: string): Promise<string> {
  return resolve(dirname(path), await readlink(path).catch(() => path));
}

/** A path without links on the way to it. */
async function placeOf(path: string): Promise<string> {
  const folder = dirname(path);
  return join(await realpath(folder).catch(() => folder), basename(path));
}
