import { constants } from "node:fs";
import { AgentError } from "./errors.ts";
import { close, type FileCalls, type FileStat, fileCalls, type OpenFile } from "./file-calls.ts";
import { fileError, rethrow } from "./file-error.ts";

/** Never follows a link, never waits for the other end of a FIFO. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

export interface RegularFile {
  readonly bytes: Buffer;
  readonly stat: FileStat;
}

/**
 * Reads a regular file of at most `limit` bytes. Throws `DEPLOY_FAILED` for a link, FIFO, device, folder, or a longer
 * file; {@link isMissing} tells where there is none.
 */
export async function readBounded(path: string, limit: number, files: FileCalls = fileCalls): Promise<Buffer> {
  return (await readRegular(path, limit, files)).bytes;
}

/** {@link readBounded} with what `fstat` says of the very file that was read. `inspect` sees it while it is open. */
export async function readRegular(
  path: string,
  limit: number,
  files: FileCalls = fileCalls,
  inspect: (file: OpenFile, stat: FileStat) => Promise<void> = async () => {},
): Promise<RegularFile> {
  const file = await files.open(path, READ).catch(rethrow("read", path));
  try {
    const stat = await files.stat(file);
    if (stat.isDirectory()) throw Object.assign(new Error("a folder"), { code: "EISDIR" }); // as reading it would
    if (!stat.isFile()) throw new AgentError("DEPLOY_FAILED", `Cannot read "${path}": it is not a regular file`);
    const size = Math.min(Number(stat.size), limit);
    let bytes = await readAll(file, size + 1, files, size);
    // It grew meanwhile, or is of a file system that does not tell sizes.
    if (bytes.length > size || size === 0) bytes = await readAll(file, limit + 1, files);
    if (bytes.length > limit) {
      throw new AgentError("DEPLOY_FAILED", `Cannot read "${path}": longer than ${limit} bytes`);
    }
    await inspect(file, stat);
    return { bytes, stat };
  } catch (error) {
    throw fileError("read", path, error);
  } finally {
    await close(file);
  }
}

/** From the start, at most `limit` bytes; after `expected` bytes nothing more is asked for. */
export async function readAll(
  file: OpenFile,
  limit: number,
  files: FileCalls,
  expected: number = limit,
): Promise<Buffer> {
  const buffer = Buffer.alloc(limit);
  let length = 0;
  while (length < expected || length === 0) {
    const { bytesRead } = await files.read(file, buffer, length);
    if (bytesRead === 0) break;
    length += bytesRead;
  }
  return buffer.subarray(0, length);
}
