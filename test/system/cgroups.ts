import { readdir, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";

const ROOT = "/sys/fs/cgroup";

/**
 * The folders that a booted system's own cgroup has, one for each hierarchy of this machine that there is (version 1,
 * the mixed kind, or version 2 alone). Two systems that share one end each other's processes.
 */
export async function cgroupFolders(name: string): Promise<readonly string[]> {
  const lines = (await readFile("/proc/self/cgroup", "utf8")).trim().split("\n");
  const mounts = await readFile("/proc/self/mounts", "utf8");
  const isMounted = (folder: string): boolean => mounts.includes(` ${folder} cgroup`);
  return lines.flatMap((line) => {
    const [, controllers = "", path = ""] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    const candidates =
      controllers === "" ? [join(ROOT, "unified"), ROOT] : [join(ROOT, controllers.replace(/^name=/, ""))];
    const folder = candidates.find(isMounted);
    // What joins a cpuset of version 1 needs its processors and memory first, and nothing here needs one.
    return folder === undefined || controllers === "cpuset" ? [] : [join(folder, path, name)];
  });
}

/** Removes a cgroup whose processes have ended, and those below it. */
export async function removeCgroup(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
  await rmdir(folder).catch(() => undefined);
}
