/** Which files of a folder are specs. */

/** Files in the state folder are called by it, and a file system takes 255 bytes. */
const SPEC_FILE = /^(?!\.)([A-Za-z0-9._-]{1,200})\.yaml$/;

/** The name of the spec that a file of this name holds; undefined where it holds none (hidden, a backup). */
export function specNameOf(file: string): string | undefined {
  return SPEC_FILE.exec(file)?.[1];
}

/** The complaint about {@link isMisnamed}. */
export const MISNAMED = "is not read: the name of a spec is at most 200 letters, digits and ._- and ends in .yaml";

/** Whether a file was most likely meant as a spec, and has the wrong name for one. */
export function isMisnamed(file: string): boolean {
  return specNameOf(file) === undefined && /\.ya?ml$/i.test(file) && !file.startsWith(".");
}
