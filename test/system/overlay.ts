import { mkdir, mkdtempDisposable } from "node:fs/promises";
import { dirname, join } from "node:path";
import { execute } from "./execute.ts";

/**
 * Runs a script of the shell that changes the tree `base`, which it finds at `$TREE`: what it changes lands in `layer`,
 * an empty folder, and `base` stays as it is. What it starts ends with it.
 */
export async function withOverlay(
  layer: string,
  base: string,
  script: string,
  words: readonly string[] = [],
): Promise<void> {
  await using aside = await mkdtempDisposable(join(dirname(layer), "overlay-"));
  const [work, tree] = [join(aside.path, "work"), join(aside.path, "tree")];
  for (const path of [work, tree]) await mkdir(path, { mode: 0o755 });
  const mount = `
    mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$LAYER,workdir=$WORK" "$TREE"
    mount -t proc proc "$TREE/proc"`;
  const apart = ["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"];
  await execute("unshare", [...apart, "sh", "-euc", `${mount}\n${script}`, "sh", ...words], {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    DEBIAN_FRONTEND: "noninteractive",
    BASE: base,
    LAYER: layer,
    WORK: work,
    TREE: tree,
  });
}
