import { existsSync } from "node:fs";
import { dirname } from "node:path";
import { AgentError, type ErrorCode } from "./errors.ts";
import { shellWord } from "./shell-word.ts";

interface Explanation {
  readonly fact: string;
  readonly hint?: string | undefined;
}

/**
 * What an operating system error means for the one who has to mend it. By number too: libuv has no name for EDQUOT
 * and calls it "Unknown system error -122".
 */
function explain(code: string, path: string): Explanation | undefined {
  const [file, folder] = [shellWord(path), shellWord(dirname(path))];
  switch (code) {
    case "ENOSPC":
      return { fact: "no space left on device", hint: `free space or inodes there: df -h ${folder}; df -i ${folder}` };
    case "EDQUOT":
    case "-122":
      return { fact: "disk quota exceeded", hint: `free space or raise the quota of the file system of ${folder}` };
    case "EROFS":
      return { fact: "read-only file system", hint: writableBy(dirname(path)) };
    case "EACCES":
      return { fact: "permission denied", hint: `namei -l ${file} shows which folder refuses` };
    case "EPERM":
      return {
        fact: "operation not permitted",
        hint: `if lsattr -d ${folder} ${file} shows "i" or "a": chattr -ia removes it; else ${otherFileSystem(folder)}`,
      };
    case "ENOSYS":
    case "ENOTSUP":
      return { fact: "its file system cannot do that", hint: otherFileSystem(folder) };
    case "ENOENT":
      return { fact: "no such file or folder", hint: withoutProc() };
    case "ENOTDIR":
      return { fact: "a part of the path is not a folder", hint: `namei -l ${file} shows which` };
    case "EISDIR":
      return { fact: "it is a folder", hint: `mv ${file} ${shellWord(`${path}.aside`)}` };
    case "EXDEV":
      return { fact: "its folder is spread over two mounts", hint: `findmnt shows them; ${folder} must be one mount` };
    case "EBUSY":
      return { fact: "it is a mount point", hint: `mount the folder ${folder} instead of the single file` };
    case "ELOOP":
      return { fact: "it is a symbolic link", hint: `ls -l ${file} shows where it leads` };
    case "ENXIO":
      return { fact: "it is a socket, or a device that is away", hint: `ls -l ${file} shows what it is` };
    case "ENAMETOOLONG":
      return { fact: "the name is too long" };
    case "EMFILE":
    case "ENFILE":
      return { fact: "too many open files", hint: "raise LimitNOFILE= of certagent's unit" };
    case "ENOMEM":
      return { fact: "out of memory" };
    case "EFBIG":
      return { fact: "file too large for the limit of this process", hint: "raise LimitFSIZE= of certagent's unit" };
    case "EIO":
      return { fact: "input/output error", hint: "the disk may be failing: dmesg" };
    default:
      return undefined;
  }
}

/** Those of other systems, and many on a network, refuse what every one of Linux's own does. */
function otherFileSystem(folder: string): string {
  return `findmnt -T ${folder} shows whether its file system has no owners or links (vfat, exFAT, CIFS): name a path on another`;
}

/** A sandbox lets no folder be made in the root folder, and one that an operator makes there can be opened. */
function writableBy(folder: string): string {
  const remount = "mount -o remount,rw makes it writable";
  if (existsSync(folder)) return `findmnt -T ${shellWord(folder)} shows it; ${remount}`;
  return `mkdir ${shellWord(folder)}; where that fails, findmnt -T ${shellWord(dirname(folder))} shows it: ${remount}`;
}

/** Names in folders that are held open go by /proc: where that is not mounted, as in some chroots, nothing is there. */
function withoutProc(): string | undefined {
  return existsSync("/proc/self/fd") ? undefined : "certagent needs /proc: mount -t proc proc /proc";
}

/** The name of an operating system error, or its number where Node has no name for it; undefined for anything else. */
export function errnoOf(thrown: unknown): string | undefined {
  if (!(thrown instanceof Error)) return undefined;
  const { code, errno } = thrown as NodeJS.ErrnoException;
  if (code !== undefined && /^E(AI_)?[A-Z0-9]+$/.test(code)) return code;
  if (errno !== undefined) return String(errno);
  return errnoOf(thrown.cause);
}

/** Whether something failed because a file or folder is not there; looks through the error that it was wrapped in. */
export function isMissing(thrown: unknown): boolean {
  return errnoOf(thrown) === "ENOENT";
}

/**
 * `Cannot write "/x": no space left on device`, with its remedy. An `AgentError` stays itself, and so does what is no
 * failure of the operating system (a defect, an abort).
 */
export function fileError(action: string, path: string, thrown: unknown, code: ErrorCode = "DEPLOY_FAILED"): unknown {
  const errno = errnoOf(thrown);
  if (thrown instanceof AgentError || errno === undefined) return thrown;
  const { fact, hint } = explain(errno, path) ?? { fact: (thrown as Error).message };
  return new AgentError(code, `Cannot ${action} "${path}": ${fact}`, { cause: thrown, hint });
}

/** For `.catch`: rejects with {@link fileError}. */
export function rethrow(action: string, path: string): (error: unknown) => never {
  return (error) => {
    throw fileError(action, path, error);
  };
}
