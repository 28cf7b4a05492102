import { closeSync, fstatSync, ftruncateSync, readSync } from "node:fs";
import { constants, type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { fileError } from "./file-error.ts";
import { loadLibc } from "./libc.ts";
import { printable } from "./printable.ts";
import { LONGEST_SLEEP, type Milliseconds, pause, repeat } from "./time.ts";

const STEP: Milliseconds = 50;
/** As <fcntl.h> has it: a file without a name in a folder (open(2)). Node knows no word for it, but hands it on. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
const READ_AND_APPEND = constants.O_RDWR | constants.O_APPEND;
/** From <linux/memfd.h>: MFD_CLOEXEC. */
const CLOSE_ON_EXEC = 0x01;
/** From <linux/falloc.h>: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE. */
const PUNCH_HOLE = 0x03;
const LEFT_OUT = "\n[… left out …]\n";

/**
 * A file without a name that a program writes to. It is kept short while it is held: a program that floods it fills
 * neither disk nor memory.
 */
export interface ProgramOutput extends AsyncDisposable {
  /** For the program's standard output and error. */
  readonly descriptor: number;
  /** The head and the tail of what was written, control characters escaped. */
  text(): Promise<string>;
  /** A daemon was left behind that goes on writing: once it is disposed of it is held, and kept short, while that `isAlive`. */
  outlive(isAlive: () => boolean, every?: Milliseconds): void;
}

/** Keeps at most `limit` bytes. Throws `DEPLOY_FAILED` where no temporary file can be made. */
export async function openOutput(limit: number): Promise<ProgramOutput> {
  const { fallocate } = await loadLibc();
  const file = await openNameless();
  const half = limit / 2;
  let head: Buffer | undefined;
  /** Up to where nothing stands any more. */
  let freed = 0;

  /**
   * Gives the middle of a flood back to the disk. The file stays as long as it is, so whatever comes meanwhile is behind
   * all this, and a program's last words are never cut off.
   */
  const free = (): void => {
    const end = sizeOf(file) - limit;
    if (end - freed < limit) return;
    head ??= readAt(file, 0, half);
    // A file system without holes: what was left out would fill it, so that something has to go.
    if (fallocate(file.fd, PUNCH_HOLE, BigInt(freed), BigInt(end - freed)) !== 0) ftruncateSync(file.fd, 0);
    else freed = end;
  };

  const stop = new AbortController();
  const freeWhileItRuns = async (): Promise<void> => {
    for (;;) {
      await pause(STEP, stop.signal);
      if (stop.signal.aborted) return;
      free();
    }
  };
  // A disk that fails here costs the words of a program, which is no reason to give up the program.
  const watching = freeWhileItRuns().catch(() => undefined);
  const stopWatching = (): Promise<void> => {
    stop.abort();
    return watching;
  };

  let dispose = async (): Promise<void> => await file.close();
  const keepWhile = (isAlive: () => boolean, every: Milliseconds): void => {
    const keeping = repeat(every, () => {
      try {
        if (isAlive()) return free();
      } catch {
        // A disk that fails: what comes of a daemon's words is its own affair then.
      }
      keeping[Symbol.dispose]();
      void file.close().catch(() => undefined);
    });
  };

  return {
    descriptor: file.fd,
    text: async () => {
      await stopWatching();
      const size = sizeOf(file);
      if (head === undefined && size <= limit) return readable(readAt(file, 0, size));
      const [first, last] = [
        head ?? readAt(file, 0, half),
        readAt(file, Math.max(size - half, 0), Math.min(size, half)),
      ];
      return `${readable(first)}${LEFT_OUT}${readable(last)}`;
    },
    outlive: (isAlive, every = LONGEST_SLEEP) => {
      dispose = async () => keepWhile(isAlive, every);
    },
    [Symbol.asyncDispose]: async () => {
      await stopWatching();
      await dispose();
    },
  };
}

/**
 * In the folder for temporary files, or in memory where that one is full, read-only, or of a kind that has no files
 * without a name. Nothing of it stays behind, however this process ends.
 */
async function openNameless(): Promise<FileHandle> {
  return await open(tmpdir(), O_TMPFILE | READ_AND_APPEND, 0o600).catch(openInMemory);
}

/** `cause`: why there is no file. */
async function openInMemory(cause: unknown): Promise<FileHandle> {
  const { memfd_create } = await loadLibc();
  const descriptor = memfd_create(Buffer.from("certagent\0"), CLOSE_ON_EXEC);
  if (descriptor < 0) throw fileError("write in", tmpdir(), cause);
  try {
    return await open(`/proc/self/fd/${descriptor}`, READ_AND_APPEND);
  } finally {
    closeSync(descriptor);
  }
}

function sizeOf({ fd }: FileHandle): number {
  return fstatSync(fd).size;
}

function readAt({ fd }: FileHandle, position: number, length: number): Buffer {
  const buffer = Buffer.alloc(length);
  return buffer.subarray(0, readSync(fd, buffer, 0, length, position));
}

/** Line breaks and tabs stay. */
function readable(bytes: Buffer): string {
  return bytes
    .toString("utf8")
    .replaceAll("\r\n", "\n")
    .replace(/[^\n\t]+/g, printable);
}
