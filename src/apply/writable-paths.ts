/**
 * certagent-apply.service may write below the folders of outputs only, and which these are is not known before the specs
 * are read. So the process itself looks whether it may, lists them in a drop-in of this boot where it may not, and is
 * started again.
 */
import { access, constants, readFile, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeAtomically } from "../base/atomic-file.ts";
import { AgentError, asAgentError } from "../base/errors.ts";
import { errnoOf } from "../base/file-error.ts";
import { makeFolders } from "../base/folder.ts";
import type { Log } from "../base/log.ts";
import { endedWell, type Run } from "../base/run.ts";
import { SECOND } from "../base/time.ts";

const UNIT = "certagent-apply.service";
/** For units of this boot (systemd.unit(5)): after the next one the folders may be others. */
const UNITS = "/run/systemd/system";
const HEAD = "# Made by certagent: the folders of the outputs, which it writes.\n[Service]\n";
/** What `ProtectHome=` hides, so that no folder in it can be seen (systemd.exec(5)). */
const HOMES = ["/home", "/root", "/run/user"];

export interface WritablePathsOptions {
  readonly ask: Run;
  readonly log: Log;
  /** systemd's folder of units, unless told. */
  readonly units?: string;
}

export interface WritablePaths {
  /**
   * Looks whether the folders of these files (absolute paths of what is to be written or removed) can be written.
   * `start again`: some could not, and now systemd knows of them; this process has to end, with the requests left where
   * they are, and certagent-apply.path starts it anew. `ready`: all of them can, or what cannot has been told, once, with
   * the line that an operator has to add. Never rejects.
   */
  open(files: readonly string[]): Promise<"ready" | "start again">;
}

export function createWritablePaths({ ask, log, units = UNITS }: WritablePathsOptions): WritablePaths {
  const told = new Set<string>();
  return {
    open: async (files) => {
      const folders = [...new Set(await Promise.all(files.map((file) => nearestFolder(dirname(file)))))];
      const closed = (await filter(folders, isClosed)).filter((folder) => !told.has(folder));
      if (closed.length === 0) return "ready";
      for (const folder of closed) told.add(folder);
      try {
        if (await extend(join(units, `${UNIT}.d`), folders, ask)) {
          log.info("starting again, to be allowed to write the folders of outputs", { folders: closed });
          return "start again";
        }
        for (const folder of closed) {
          log.warning("cannot write a folder of outputs", { folder, hint: remedyFor(folder) });
        }
      } catch (error) {
        const { message } = asAgentError(error);
        log.warning("cannot be allowed to write the folders of outputs", { folders: closed, reason: message });
      }
      return "ready";
    },
  };
}

/** The folder, or the innermost one above it that is there. Below a home that cannot be seen: that home. */
async function nearestFolder(folder: string): Promise<string> {
  const home = HOMES.find((top) => folder.startsWith(`${top}/`));
  if (home !== undefined && (await isHidden(home))) return home === "/root" ? home : firstBelow(home, folder);
  for (let candidate = folder; ; candidate = dirname(candidate)) {
    const isThere = await stat(candidate).then(
      (found) => found.isDirectory(),
      () => false,
    );
    if (isThere || candidate === "/") return candidate;
  }
}

function firstBelow(home: string, folder: string): string {
  return folder
    .split("/")
    .slice(0, home.split("/").length + 1)
    .join("/");
}

/** What systemd puts over a folder that it hides has mode 000. */
async function isHidden(folder: string): Promise<boolean> {
  return await stat(folder).then(
    ({ mode }) => (mode & 0o777) === 0,
    () => false,
  );
}

/** Whether the mount of the folder is read-only, or hidden: what root is kept from by nothing else. */
async function isClosed(folder: string): Promise<boolean> {
  const home = HOMES.find((top) => folder === top || folder.startsWith(`${top}/`));
  if (home !== undefined && (await isHidden(home))) return true;
  return await access(folder, constants.W_OK).then(
    () => false,
    (error: unknown) => errnoOf(error) === "EROFS",
  );
}

/**
 * Adds folders to the drop-in; false where it lists them all already. Only ever more than before, so that there is an end
 * to starting again.
 */
async function extend(dropIns: string, folders: readonly string[], ask: Run): Promise<boolean> {
  const path = join(dropIns, "50-outputs.conf");
  const before = await readFile(path, "utf8").catch(() => "");
  const known = [...before.matchAll(/^ReadWritePaths=-"(.+)"$/gm)].map(([, folder = ""]) =>
    folder.replaceAll("%%", "%"),
  );
  const text = dropIn(outermost([...new Set([...known, ...folders.filter(canBeListed)])]));
  if (text === before || text === HEAD) return false;
  await makeFolders(dropIns, { mode: 0o755 });
  await writeAtomically(path, Buffer.from(text), { mode: 0o644 });
  const reload = await ask(["systemctl", "daemon-reload"], { timeout: 60 * SECOND });
  if (endedWell(reload)) return true;
  await unlink(path); // the next start tries again
  throw new AgentError("RELOAD_FAILED", `Cannot have systemd read "${path}": ${reload.output.trim()}`);
}

/** Not the root folder, which would open all; and no name that a unit file could take for something else. */
function canBeListed(folder: string): boolean {
  return folder !== "/" && !/["\\]|\p{Cc}/u.test(folder);
}

function outermost(folders: readonly string[]): readonly string[] {
  return folders.filter((folder) => !folders.some((other) => folder.startsWith(`${other}/`))).toSorted();
}

function dropIn(folders: readonly string[]): string {
  // Of a whole home read-only is the stricter word, and is what systemd keeps to.
  const home = folders.some((folder) => HOMES.includes(folder)) ? "no" : "read-only";
  const hasHomes = folders.some((folder) => HOMES.some((top) => folder === top || folder.startsWith(`${top}/`)));
  const lines = folders.map((folder) => `ReadWritePaths=-"${folder.replaceAll("%", "%%")}"\n`);
  return `${HEAD}${hasHomes ? `ProtectHome=${home}\n` : ""}${lines.join("")}`;
}

function remedyFor(folder: string): string {
  if (folder === "/") return "make the folder of the output first";
  return `systemctl edit ${UNIT}, with [Service] and ReadWritePaths=${folder}; or the file system is read-only: findmnt -T ${folder}`;
}

async function filter<T>(items: readonly T[], holds: (item: T) => Promise<boolean>): Promise<T[]> {
  const answers = await Promise.all(items.map(holds));
  return items.filter((_item, index) => answers[index]);
}
