/** Looking at what is in folders of outputs, where whoever owns one may have laid a link to anywhere. */
import { join } from "node:path";
import { MINUTE, type Milliseconds } from "../../base/time.ts";
import { NOBODY, reach } from "../../base/trusted-folder.ts";
import type { Host } from "../host.ts";

/**
 * Looks into the folder of an output of user `owner`: `look` is given the path for a name in it. Undefined where the
 * folder is missing. Throws `DEPLOY_FAILED` where others could lead the way.
 */
export type LookInto = <Result>(
  folder: string,
  owner: number,
  look: (at: (name: string) => string) => Promise<Result>,
) => Promise<Result | undefined>;

/** How long a way on which all is root's is believed to be so still: nobody but root can change that. */
const BELIEVED: Milliseconds = MINUTE;

/**
 * Where all of the way is root's, its path is as good as a descriptor, and costs less: most looks are at such. On any
 * other each step is taken anew: a link there might lead to a server that never answers, which holds one of the few
 * threads that file calls have.
 */
export function createLookInto({ files, system: { clock } }: Pick<Host, "files" | "system">): LookInto {
  const ways = new Map<string, { readonly isRoots: Promise<boolean>; readonly until: Milliseconds }>();

  const isRoots = async (folder: string): Promise<boolean> => {
    try {
      await using reached = await reach(folder, NOBODY, files);
      return reached.missing === null;
    } catch {
      return false;
    }
  };

  return async (folder, owner, look) => {
    const now = clock.monotonic();
    const known = ways.get(folder);
    const way = known !== undefined && known.until > now ? known : { isRoots: isRoots(folder), until: now + BELIEVED };
    ways.set(folder, way);
    if (await way.isRoots) return await look((name) => join(folder, name));
    await using reached = await reach(folder, owner, files);
    return reached.missing === null ? await look(reached.folder.at) : undefined;
  };
}
