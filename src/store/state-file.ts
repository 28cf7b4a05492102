import { basename, dirname } from "node:path";
import type { z } from "zod";
import { nodeFiles, stage, writeAtomically } from "../base/atomic-file.ts";
import { isMissing } from "../base/file-error.ts";
import { makeFolders } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";
import { NOBODY, reach } from "../base/trusted-folder.ts";

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
  const parsed = schema.safeParse(parseJson(bytes));
  if (parsed.success) return parsed.data;
  await setAside(path, bytes).catch(() => undefined);
  return undefined;
}

/** Only where nobody else leads: root, who may look at the agent's state, must not be led to write anywhere by it. */
async function setAside(path: string, bytes: Uint8Array): Promise<void> {
  await using reached = await reach(dirname(path), NOBODY, nodeFiles);
  if (reached.missing !== null) return;
  await using staged = await stage(reached.folder, basename(unreadable(path)), bytes, { mode: 0o600 });
  await staged.publish();
}

/** Where a file of state is set aside that could not be understood. */
export function unreadable(path: string): string {
  return `${path}.unreadable`;
}

/** Writes a file of state as JSON, 0600, durable when it resolves. Throws DEPLOY_FAILED. */
export function writeState(path: string, value: unknown): Promise<void> {
  return writeBytes(path, stateBytes(value));
}

/** A file of state. */
export function stateBytes(value: unknown): Buffer {
  return Buffer.from(`${JSON.stringify(value)}\n`);
}

/** Writes a file of state, 0600, with the folders that it needs, durable when it resolves. Throws DEPLOY_FAILED. */
export async function writeBytes(path: string, bytes: Uint8Array): Promise<void> {
  await withFolders(path, () => writeAtomically(path, bytes, { mode: 0o600, alone: true }));
}

/** Writes a file; where its folders are missing, again after they were made. */
export async function withFolders<Result>(path: string, write: () => Promise<Result>): Promise<Result> {
  return await write().catch(async (error: unknown) => {
    if (!isMissing(error)) throw error;
    await makeFolders(dirname(path), { mode: 0o700 });
    return await write();
  });
}

/** Undefined for what is no JSON. */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return undefined;
  }
}
