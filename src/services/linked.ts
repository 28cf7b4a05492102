import { readlink } from "node:fs/promises";
import { dirname, resolve } from "node:path";

/** What a link in a service's configuration leads to, be that there yet or not; the path itself where it is none. */
export async function linkedFrom(path: string): Promise<string> {
  return resolve(dirname(path), await readlink(path).catch(() => path));
}
