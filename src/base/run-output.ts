import { fstatSync, ftruncateSync, readSync } from "node:fs";
import { constants, type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { rethrow } from "./file-error.ts";
import { printable } from "./printable.ts";
import { type Milliseconds, pause } from "./time.ts";

const STEP: Milliseconds = 50;
/** A flood may outrun the looks, and then it is no end that is missed. */
const MOST_TRIES = 10;
/** As <fcntl.h> has it: a file without a name in a folder (open(2)). Node knows no word for it, but hands it on. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;
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
}

/** Keeps at most `limit` bytes. Throws `DEPLOY_FAILED` where no temporary file can be made. */
export async function openOutput(limit: number): Promise<ProgramOutput> {
  const file = await openNameless();
  const half = limit / 2;
  let kept: Buffer = Buffer.alloc(0);
  let cut = false;

  /**
   * Moves what the file holds to what is kept. Appending writers go on at its new, shorter end. What is written between
   * the last look and the cut is lost, and may be a program's last words: so nothing is waited for in between.
   */
  const fold = (): void => {
    let size = sizeOf(file);
    let fresh = endsOf(file, size, limit);
    for (let tries = 0; tries < MOST_TRIES && sizeOf(file) !== size; tries += 1) {
      size = sizeOf(file);
      fresh = endsOf(file, size, limit);
    }
    ftruncateSync(file.fd, 0);
    const all = Buffer.concat([kept, ...fresh]);
    cut ||= size > limit || all.length > limit;
    kept = all.length <= limit ? all : Buffer.concat([all.subarray(0, half), all.subarray(-half)]);
  };

  const stop = new AbortController();
  const foldWhenLong = async (): Promise<void> => {
    for (;;) {
      await pause(STEP, stop.signal);
      if (stop.signal.aborted) return;
      if (sizeOf(file) > 2 * limit) fold();
    }
  };
  // A disk that fails here costs the words of a program, which is no reason to give up the program.
  const watching = foldWhenLong().catch(() => undefined);
  const stopWatching = (): Promise<void> => {
    stop.abort();
    return watching;
  };

  return {
    descriptor: file.fd,
    text: async () => {
      await stopWatching();
      fold();
      return cut ? `${readable(kept.subarray(0, half))}${LEFT_OUT}${readable(kept.subarray(half))}` : readable(kept);
    },
    [Symbol.asyncDispose]: async () => {
      await stopWatching();
      await file.close();
    },
  };
}

/**
 * In the folder for temporary files, or in memory where that one is full, read-only, or of a kind that has no files
 * without a name. Nothing of it stays behind, however this process ends.
 */
async function openNameless(): Promise<FileHandle> {
  return await openIn(tmpdir()).catch(() => openIn("/dev/shm"));
}

async function openIn(folder: string): Promise<FileHandle> {
  return await open(folder, O_TMPFILE | constants.O_RDWR | constants.O_APPEND, 0o600).catch(
    rethrow("write in", folder),
  );
}

function sizeOf({ fd }: FileHandle): number {
  return fstatSync(fd).size;
}

/** All of it, or its head and its tail. */
function endsOf(file: FileHandle, size: number, limit: number): readonly Buffer[] {
  const half = limit / 2;
  return size <= limit ? [readAt(file, 0, size)] : [readAt(file, 0, half), readAt(file, size - half, half)];
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
