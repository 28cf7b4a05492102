import { copyFile, mkdir } from "node:fs/promises";
import { dirname } from "node:path";
import type { z } from "zod";
import { writeAtomically } from "../base/atomic-file.ts";
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
  const parsed = schema.safeParse(parseJson(Buffer.from(bytes).toString("utf8")));
  if (parsed.success) return parsed.data;
  await copyFile(path, `${path}.unreadable`).catch(() => undefined);
  return undefined;
}

/** Writes a file of state, durable when it resolves. Throws DEPLOY_FAILED. */
export async function writeState(path: string, value: unknown): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeAtomically(path, Buffer.from(`${JSON.stringify(value)}\n`), { mode: 0o600 });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
