/** certagent as its users install it: the tree to boot from, and the package of this checkout in it. */
import { existsSync } from "node:fs";
import { copyFile, mkdir, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { buildPackages } from "../../scripts/package.ts";
import { cacheFolder, toolPath } from "../servers/tools.ts";
import { sweepCgroups } from "./cgroups.ts";
import { tell } from "./execute.ts";
import { withOverlay } from "./overlay.ts";
import { baseTree, suiteAsked } from "./tree.ts";

export interface Installed extends AsyncDisposable {
  /** Trees, each of which hides the later ones: certagent installed over Debian. */
  readonly layers: readonly string[];
  /** The package of this checkout. */
  readonly deb: string;
  /** Where machines may lie. */
  readonly machines: string;
}

/** Makes what machines are made of. It is there until it is disposed of, or the next run finds this process ended. */
export async function install(): Promise<Installed> {
  const base = await baseTree(suiteAsked());
  await sweep();
  const folder = join(cacheFolder(), `system-run-${process.pid}`);
  await mkdir(folder, { recursive: true });
  tell("building the package");
  const [deb = ""] = await buildPackages(join(folder, "packages"), {
    architectures: [process.arch === "arm64" ? "arm64" : "amd64"],
    formats: ["deb"],
    isQuick: true,
  });
  tell("installing it");
  const installed = await installInto(folder, base, deb);
  return {
    layers: [installed, base],
    deb,
    machines: join(folder, "machines"),
    [Symbol.asyncDispose]: () => rm(folder, { recursive: true, force: true }),
  };
}

/** Removes what runs that were killed have left. */
async function sweep(): Promise<void> {
  for (const name of await readdir(cacheFolder())) {
    const pid = /^system-run-(\d+)$/.exec(name)?.[1];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    await rm(join(cacheFolder(), name), { recursive: true, force: true });
  }
  await sweepCgroups();
}

/** Installs a package over a tree, without booting it, and answers the layer with all that this has changed. */
async function installInto(folder: string, base: string, deb: string): Promise<string> {
  const layer = join(folder, "installed");
  await mkdir(layer, { mode: 0o755 });
  const script = `
    cp "$1" "$TREE/root/certagent.deb"
    unshare --net chroot "$TREE" /usr/bin/dpkg --install /root/certagent.deb
    rm "$TREE/root/certagent.deb"`;
  await withOverlay(layer, base, script, [deb]);
  await mkdir(join(layer, "usr/local/bin"), { recursive: true });
  for (const tool of ["step-ca", "step"] as const) await copyFile(toolPath(tool), join(layer, "usr/local/bin", tool));
  return layer;
}
