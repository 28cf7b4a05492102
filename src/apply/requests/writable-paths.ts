/**
 * certagent-apply.service may write below the folders of outputs only, and which these are is not known before the specs
 * are read. So the process itself looks whether it may, lists them in a drop-in where it may not, and is started again. The
 * drop-in is a link of the package's to a file in the root side's own state, so that it is there at the next boot.
 */
import { access, constants, lstat, readFile, readlink, stat, unlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { writeAtomically } from "../../base/atomic-file.ts";
import { AgentError, asAgentError } from "../../base/errors.ts";
import { errnoOf } from "../../base/file-error.ts";
import type { Log } from "../../base/log.ts";
import { endedWell, type Run } from "../../base/run.ts";
import { shellWord } from "../../base/shell-word.ts";
import { SECOND } from "../../base/time.ts";

const UNIT = "certagent-apply.service";
const HEAD = "# Made by certagent: the folders of the outputs, which it writes.\n[Service]\n";
/** What `ProtectHome=` hides, so that no folder in it can be seen (systemd.exec(5)). */
const HOMES = ["/home", "/root", "/run/user"];
const MOST_LINKS = 20;

export interface WritablePathsOptions {
  readonly ask: Run;
  readonly log: Log;
  /** The file that the unit's drop-in leads to. */
  readonly list: string;
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

export function createWritablePaths({ ask, log, list }: WritablePathsOptions): WritablePaths {
  const told = new Set<string>();
  /** What this process could write: where it no longer can, another folder has that name, which systemd opens at a start. */
  const seenOpen = new Set<string>();
  /** Each output's folder that is closed, and the folder that would have to be opened for it. */
  const findClosed = async (files: readonly string[]): Promise<ReadonlyMap<string, string>> => {
    const closed = new Map<string, string>();
    for (const folder of new Set(files.map((file) => dirname(file)))) {
      const opened = await innermostOfRoot(folder);
      if (told.has(folder)) continue;
      if (await isClosed(opened)) closed.set(folder, opened);
      else seenOpen.add(opened);
    }
    return closed;
  };
  return {
    open: async (files) => {
      const closed = await findClosed(files);
      const replaced = [...closed.values()].filter((opened) => seenOpen.has(opened));
      if (replaced.length > 0) {
        log.info("starting again, as folders of outputs were made anew", { folders: replaced });
        return "start again";
      }
      for (const folder of closed.keys()) told.add(folder);
      try {
        const folders = await extend(list, [...closed.values()], ask);
        if (folders !== undefined) {
          log.info("starting again, to be allowed to write the folders of outputs", { folders });
          return "start again";
        }
        for (const [folder, opened] of closed) {
          log.warning("cannot write a folder of outputs", { folder, hint: await remedyFor(folder, opened) });
        }
      } catch (error) {
        const { message } = asAgentError(error);
        const folders = [...closed.keys()];
        log.warning("cannot be allowed to write the folders of outputs", { folders, reason: message });
      }
      return "ready";
    },
  };
}

/**
 * The innermost folder on the way to `folder` that is, like all above it, root's, and that nobody else may write: one that
 * lies deeper can be made a looping link, a file or a mount that keeps root out, and systemd starts no unit that lists
 * such a thing, `-` before it or not (seen with 252). Links that root made in such folders are followed.
 */
async function innermostOfRoot(folder: string): Promise<string> {
  const way = folder.split("/").filter((part) => part !== "");
  let reached = "/";
  let mayLink = MOST_LINKS;
  for (let part = way.shift(); part !== undefined; part = way.shift()) {
    const place = join(reached, part);
    const found = await lstat(place).catch(() => undefined);
    if (found?.uid !== 0) break;
    if (found.isSymbolicLink() && mayLink-- > 0) {
      const target = await readlink(place);
      way.unshift(...target.split("/").filter((step) => step !== ""));
      if (target.startsWith("/")) reached = "/";
    } else if (found.isDirectory() && (found.mode & 0o022) === 0) reached = place;
    else break;
  }
  return reached;
}

/** Whether the mount of the folder is read-only, or hidden: what root is kept from by nothing else. */
async function isClosed(folder: string): Promise<boolean> {
  return await access(folder, constants.W_OK).then(
    // What systemd puts over a folder that it hides has mode 000.
    async () => HOMES.includes(folder) && ((await stat(folder)).mode & 0o777) === 0,
    (error: unknown) => errnoOf(error) === "EROFS",
  );
}

/**
 * Adds folders to those that the drop-in lists and answers all of them; undefined where that changes nothing. Taken away
 * is only what an operator has moved or given to another user since: there is an end to starting again.
 */
async function extend(path: string, folders: readonly string[], ask: Run): Promise<readonly string[] | undefined> {
  const before = await readFile(path, "utf8").catch(() => HEAD);
  const known = [...before.matchAll(/^ReadWritePaths=-"(.+)"$/gm)].map(([, folder = ""]) =>
    folder.replaceAll("%%", "%"),
  );
  const kept = await filter(known, async (folder) => (await innermostOfRoot(folder)) === folder);
  const listed = outermost([...new Set([...kept, ...folders.filter(canBeListed)])]);
  const text = dropIn(listed);
  if (text !== before) await writeAtomically(path, Buffer.from(text), { mode: 0o644 });
  else if (folders.length === 0 || !(await isUnread(ask))) return undefined;
  const reload = await ask(["systemctl", "daemon-reload"], { timeout: 60 * SECOND });
  if (endedWell(reload)) return listed;
  await unlink(path); // the next start tries again
  throw new AgentError("RELOAD_FAILED", `Cannot have systemd read "${path}": ${reload.output.trim()}`);
}

/** Whether systemd has read the unit before the drop-in was there: at a boot that mounts /var later. */
async function isUnread(ask: Run): Promise<boolean> {
  const { output } = await ask(["systemctl", "show", "--property=NeedDaemonReload", UNIT], { timeout: 60 * SECOND });
  return output.includes("=yes");
}

/** Not the root folder, which would open all; and no name that a unit file could take for something else. */
function canBeListed(folder: string): boolean {
  return folder !== "/" && !/["\\]|\p{Cc}/u.test(folder);
}

function outermost(folders: readonly string[]): readonly string[] {
  return folders.filter((folder) => !folders.some((other) => folder.startsWith(`${other}/`))).toSorted();
}

function dropIn(folders: readonly string[]): string {
  // Nothing weaker: of two words on one path systemd keeps the stricter.
  const hasHomes = folders.some((folder) => HOMES.some((top) => folder === top || folder.startsWith(`${top}/`)));
  const lines = folders.map((folder) => `ReadWritePaths=-"${folder.replaceAll("%", "%%")}"\n`);
  return `${HEAD}${hasHomes ? "ProtectHome=no\n" : ""}${lines.join("")}`;
}

async function remedyFor(folder: string, opened: string): Promise<string> {
  const top = `/${folder.split("/")[1]}`;
  if (opened === "/" && (await lstat(top).catch(() => undefined)) === undefined) return `mkdir -p ${shellWord(folder)}`;
  if (opened === "/") return `use a folder below one that only root may write: namei -l ${shellWord(folder)}`;
  return `systemctl edit ${UNIT}, with [Service] and ReadWritePaths=${opened}; or the file system is read-only: findmnt -T ${shellWord(opened)}`;
}

async function filter<T>(items: readonly T[], holds: (item: T) => Promise<boolean>): Promise<T[]> {
  const answers = await Promise.all(items.map(holds));
  return items.filter((_item, index) => answers[index]);
}
