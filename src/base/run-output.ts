import { constants, type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { rethrow } from "./file-error.ts";
import { printable } from "./printable.ts";
import { type Milliseconds, pause } from "./time.ts";

const STEP: Milliseconds = 50;
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

  /** Moves what the file holds to what is kept. Appending writers go on at its new, shorter end. */
  const fold = async (): Promise<void> => {
    const { size } = await file.stat();
    const fresh =
      size <= limit
        ? [await readAt(file, 0, size)]
        : [await readAt(file, 0, half), await readAt(file, size - half, half)];
    await file.truncate(0);
    const all = Buffer.concat([kept, ...fresh]);
    cut ||= size > limit || all.length > limit;
    kept = all.length <= limit ? all : Buffer.concat([all.subarray(0, half), all.subarray(-half)]);
  };

  const stop = new AbortController();
  const foldWhenLong = async (): Promise<void> => {
    for (;;) {
      await pause(STEP, stop.signal);
      if (stop.signal.aborted) return;
      if ((await file.stat()).size > 2 * limit) await fold();
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
      await fold();
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

async function readAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  const { bytesRead } = await file.read(buffer, 0, length, position);
  return buffer.subarray(0, bytesRead);
}

/** Line breaks and tabs stay. */
function readable(bytes: Buffer): string {
  return bytes
    .toString("utf8")
    .replaceAll("\r\n", "\n")
    .replace(/[^\n\t]+/g, printable);
}
