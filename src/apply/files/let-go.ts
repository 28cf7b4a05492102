import { basename, dirname, join } from "node:path";
import { stage } from "../../base/atomic-file.ts";
import { asAgentError } from "../../base/errors.ts";
import { reach } from "../../base/trusted-folder.ts";
import type { Desired } from "../../core/ports.ts";
import type { Host } from "../host.ts";
import type { ApplyRecord } from "../record.ts";
import { surroundingsOf } from "./change.ts";
import { find } from "./found.ts";

/**
 * A file that a spec no longer names stays. Where it is a link of `layout: link` it becomes the file that it leads to,
 * since the sets to come hold nothing for it. To be done before these are made.
 */
export async function letGo(host: Host, { name, outputs }: Desired, { files }: ApplyRecord): Promise<void> {
  const sets = join(host.layout.live, name, "current");
  const named = new Set(outputs.map(({ path }) => path));
  for (const path of Object.keys(files).filter((known) => !named.has(known))) {
    try {
      const link = await host.files.readlink(path).catch(() => ""); // gone, or a file already
      if (dirname(link) === sets) await makePlain(host, path, link);
    } catch (error) {
      const { message, hint } = asAgentError(error);
      const fields = { certificate: name, reason: message, hint };
      host.log.warning("cannot leave a file that the spec no longer names", fields);
    }
  }
}

const NO_ACCESS = { mode: 0, uid: -1, gid: -1, grants: [] };

async function makePlain(host: Host, path: string, link: string): Promise<void> {
  await using set = await reach(dirname(link), NO_ACCESS.uid, host.files);
  const found = await find(host, set.folder, basename(link), NO_ACCESS, null);
  if (found.kind !== "file") return;
  await using place = await reach(dirname(path), found.access.uid, host.files);
  const options = { ...found.access, ...surroundingsOf(host) };
  await using staged = await stage(place.folder, basename(path), found.bytes, options);
  await staged.publish();
  await place.folder.sync();
}
