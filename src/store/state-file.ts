import { copyFile, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { z } from "zod";
import { writeAtomically } from "../base/atomic-file.ts";
import { openFolder } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";

/** No file of state is larger; a larger one was not written by us. */
const LIMIT = 1024 * 1024;

/**
 * Reads a file of state. Answers undefined where it is missing, torn, of another schema or not readable at all: then
 * the world is observed again, which is never fatal. What cannot be understood is set aside as `FILE.unreadable`.
 */
export async function readState<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): Promise<z.output<Schema> | undefined> {
  const bytes = await readBounded(path, LIMIT).catch(() => undefined);
  if (bytes === undefined) return undefined;
  const parsed = schema.safeParse(parseJson(bytes.toString("utf8")));
  if (parsed.success) return parsed.data;
  await copyFile(path, `${path}.unreadable`).catch(() => undefined);
  return undefined;
}

/** Writes a file of state as JSON, 0600, durable when it resolves. Throws DEPLOY_FAILED. */
export function writeState(path: string, value: unknown): Promise<void> {
  return writeBytes(path, Buffer.from(`${JSON.stringify(value)}\n`));
}

/** Writes a file of state, 0600, with the folders that it needs, durable when it resolves. Throws DEPLOY_FAILED. */
export async function writeBytes(path: string, bytes: Uint8Array): Promise<void> {
  await makeFolders(dirname(path));
  await writeAtomically(path, bytes, { mode: 0o600 });
}

/** Makes a folder and its parents, 0700, each durable: a synced file is worth nothing in a folder that is not. */
async function makeFolders(path: string): Promise<void> {
  const first = await mkdir(path, { recursive: true, mode: 0o700 });
  if (first === undefined) return;
  for (let made = path; made.length >= first.length; made = dirname(made)) {
    await using parent = await openFolder(dirname(made));
    await parent.sync();
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
