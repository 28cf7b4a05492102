import { existsSync } from "node:fs";
import { glob, readdir, readFile, rmdir } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pause } from "../../src/base/time.ts";

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
    // Below version 2 alone a cgroup with processes hands no controller down: the machine's lies beside ours.
    const parent = folder === ROOT ? dirname(path) : path;
    // What joins a cpuset of version 1 needs its processors and memory first, and nothing here needs one.
    return folder === undefined || controllers === "cpuset" ? [] : [join(folder, parent, name)];
  });
}

/** Ends what is still running in cgroups of machines whose tests are gone, and removes them. */
export async function sweepCgroups(): Promise<void> {
  for (const path of await cgroupFolders(".")) {
    for (const name of await readdir(path)) {
      const pid = /^certagent-(\d+)-\d+$/.exec(name)?.[1];
      if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
      const folder = join(path, name);
      while (await endProcesses(folder)) await pause(50);
      await removeCgroup(folder);
    }
  }
}

/** Answers whether there was any. */
async function endProcesses(folder: string): Promise<boolean> {
  const files = await Array.fromAsync(glob("**/cgroup.procs", { cwd: folder }));
  const texts = await Promise.all(files.map((file) => readFile(join(folder, file), "utf8").catch(() => "")));
  // 0 stands for what is in another namespace.
  const pids = texts.flatMap((text) => text.split("\n").filter((line) => Number(line) > 0));
  for (const pid of pids) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has just ended by itself.
    }
  }
  return pids.length > 0;
}

/** Removes a cgroup whose processes have ended, and those below it. */
export async function removeCgroup(folder: string): Promise<void> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  for (const entry of entries) if (entry.isDirectory()) await removeCgroup(join(folder, entry.name));
  await rmdir(folder).catch(() => undefined);
}
