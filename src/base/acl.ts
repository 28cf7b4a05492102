import type { FileHandle } from "node:fs/promises";
import { AgentError } from "./errors.ts";
import type { Run, RunResult } from "./run.ts";
import { SECOND } from "./time.ts";

/** A right of one more user or group, by number. Permissions are a non-empty subset of `rwx` in that order. */
export interface Grant {
  readonly tag: "user" | "group";
  readonly id: number;
  readonly permissions: string;
}

/** The child finds the file that it was given as descriptor 3: no path, so nothing that could be swapped. */
const FILE = "/proc/self/fd/3";
const TIMEOUT = 10 * SECOND;

/**
 * Makes mode and ACL exactly what is asked, in one step, whatever a default ACL of the folder put there: a chmod would
 * raise the mask and with it the rights of everybody whom the default ACL names. Throws `DEPLOY_FAILED`.
 */
export async function setAcl(
  run: Run,
  file: FileHandle,
  path: string,
  mode: number,
  grants: readonly Grant[],
): Promise<void> {
  const result = await call(run, ["setfacl", "--set", aclText(mode, grants), FILE], file, path);
  if (result.exitCode === 0) return;
  throw new AgentError("DEPLOY_FAILED", `Cannot set the ACL of "${path}": ${result.output.trim()}`, {
    hint: "the file system may be mounted without ACLs (noacl); leave acl: out of the spec, or mount it with them",
  });
}

/** The rights of further users and groups, sorted, as they are on disk (not as the mask weakens them). */
export async function readGrants(run: Run, file: FileHandle, path: string): Promise<readonly Grant[]> {
  const { output } = await call(run, ["getfacl", "-cnE", "-p", "--access", FILE], file, path);
  return parseGrants(output);
}

/** Whether files made in this folder inherit an ACL. A host without `getfacl` has none. */
export async function hasDefaultAcl(run: Run, folder: FileHandle, path: string): Promise<boolean> {
  try {
    const { output } = await call(run, ["getfacl", "-cnE", "-p", "--default", FILE], folder, path);
    return /^\w+:/m.test(output);
  } catch {
    return false;
  }
}

/** `rw` → `rw-`, sorted, so that two lists of the same rights are the same text. */
export function grantsText(grants: readonly Grant[]): string {
  return grants
    .map(({ tag, id, permissions }) => `${tag}:${id}:${padded(permissions)}`)
    .toSorted()
    .join(",");
}

function parseGrants(output: string): readonly Grant[] {
  return [...output.matchAll(/^(user|group):(\d+):([r-][w-][x-])$/gm)].map(([, tag, id, permissions]) => ({
    tag: tag as Grant["tag"],
    id: Number(id),
    permissions: (permissions ?? "").replaceAll("-", ""),
  }));
}

/** With grants the group bits of the mode are the mask, as `stat` shows them. */
function aclText(mode: number, grants: readonly Grant[]): string {
  const bits = (shift: number): string =>
    padded(["r", "w", "x"].filter((_, bit) => mode & ((4 >> bit) << shift)).join(""));
  const base = `u::${bits(6)},g::${bits(3)},o::${bits(0)}`;
  return grants.length === 0 ? base : `${base},${grantsText(grants)},m::${bits(3)}`;
}

function padded(permissions: string): string {
  return ["r", "w", "x"].map((letter) => (permissions.includes(letter) ? letter : "-")).join("");
}

async function call(run: Run, argv: readonly string[], file: FileHandle, path: string): Promise<RunResult> {
  try {
    return await run(argv, { timeout: TIMEOUT, descriptor: file.fd });
  } catch (cause) {
    throw new AgentError("DEPLOY_FAILED", `Cannot look after the ACL of "${path}": ${argv[0]} is not installed`, {
      cause,
      hint: "apt install acl (dnf install acl)",
    });
  }
}
