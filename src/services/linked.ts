import { readlink, realpath } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";

/** As many as the kernel follows for whoever opens a path. */
const MOST_LINKS = 40;

/** Whether a path in a service's configuration is one of these, be it by links in its place or on the way to it. */
export async function createIsOneOf(paths: Iterable<string>): Promise<(path: string) => Promise<boolean>> {
  const wanted = new Set(await Promise.all([...paths].map(placeOf)));
  return async (path) => {
    let place = await placeOf(path);
    for (let links = 0; !wanted.has(place); links++) {
      const link = await readlink(place).catch(() => undefined);
      if (link === undefined || links === MOST_LINKS) return false;
      place = await placeOf(resolve(dirname(place), link));
    }
    return true;
  };
}

/** A path without links on the way to it, be there anything at it yet or not. */
async function placeOf(path: string): Promise<string> {
  const folder = dirname(path);
  return join(await realpath(folder).catch(() => folder), basename(path));
}
