import { AgentError, asAgentError } from "./errors.ts";
import type { OpenFile } from "./file-calls.ts";
import { errnoOf } from "./file-error.ts";
import { loadLibc } from "./libc.ts";
import type { Run, RunResult } from "./run.ts";
import { SECOND } from "./time.ts";

/**
 * A right of one more user or group, by number; of the file's own group (null) only where it is not what the mode says.
 * Permissions are a subset of `rwx` in that order.
 */
export interface Grant {
  readonly tag: "user" | "group";
  readonly id: number | null;
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
  file: OpenFile,
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

/** The rights of further users and groups, as they are on disk (not as the mask weakens them). */
export async function readGrants(file: OpenFile): Promise<readonly Grant[]> {
  return parseAcl(await readAttribute(file, "system.posix_acl_access"));
}

/** Whether files made in this folder inherit an ACL. */
export async function hasDefaultAcl(folder: OpenFile): Promise<boolean> {
  return (await readAttribute(folder, "system.posix_acl_default")).length > 0;
}

/**
 * An extended attribute; empty where there is none, or the file system knows of none. Asked of the kernel directly: a
 * `getfacl` for each file that is written was a third of the processor time of a renewal. What was opened a moment ago
 * has its attributes in memory, so this does not wait for a disk.
 */
async function readAttribute(file: OpenFile, name: string): Promise<Buffer> {
  const { getxattr } = await loadLibc();
  const [path, attribute] = [Buffer.from(`/proc/self/fd/${file.fd}\0`), Buffer.from(`${name}\0`)];
  const length = Number(getxattr(path, attribute, Buffer.alloc(1), 0n));
  if (length <= 0) return Buffer.alloc(0);
  const value = Buffer.alloc(length);
  return value.subarray(0, Math.max(0, Number(getxattr(path, attribute, value, BigInt(length)))));
}

/** `rw` → `rw-`, sorted, so that two lists of the same rights are the same text. */
export function grantsText(grants: readonly Grant[]): string {
  return grants
    .map(({ tag, id, permissions }) => `${tag}:${id ?? ""}:${padded(permissions)}`)
    .toSorted()
    .join(",");
}

const [USER, OWN_GROUP, GROUP, MASK] = [0x02, 0x04, 0x08, 0x10];

/** As the kernel hands it out: a version, then entries of tag, permissions and number (linux/posix_acl_xattr.h). */
function parseAcl(attribute: Buffer): readonly Grant[] {
  const entries: { readonly tag: number; readonly id: number; readonly permissions: string }[] = [];
  for (let at = 4; at + 8 <= attribute.length; at += 8) {
    const bits = attribute.readUInt16LE(at + 2);
    const permissions = ["r", "w", "x"].filter((_, bit) => bits & (4 >> bit)).join("");
    entries.push({ tag: attribute.readUInt16LE(at), id: attribute.readUInt32LE(at + 4), permissions });
  }
  // The group's bits of the mode are the mask: what the group itself has may be less, or more once the mask changes.
  const mask = entries.find(({ tag }) => tag === MASK)?.permissions;
  return entries.flatMap(({ tag, id, permissions }): readonly Grant[] => {
    if (tag === USER) return [{ tag: "user", id, permissions }];
    if (tag === GROUP) return [{ tag: "group", id, permissions }];
    const differs = tag === OWN_GROUP && mask !== undefined && permissions !== mask;
    return differs ? [{ tag: "group", id: null, permissions }] : [];
  });
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

async function call(run: Run, argv: readonly string[], file: OpenFile, path: string): Promise<RunResult> {
  try {
    return await run(argv, { timeout: TIMEOUT, descriptor: file.fd });
  } catch (cause) {
    const isAbsent = ["ENOENT", "EACCES"].includes(errnoOf(cause) ?? "");
    const { message, hint } = asAgentError(cause);
    const fact = isAbsent ? `${argv[0]} is not installed` : message.replace(/^C/, "c");
    throw new AgentError("DEPLOY_FAILED", `Cannot look after the ACL of "${path}": ${fact}`, {
      cause,
      hint: isAbsent ? "apt install acl (dnf install acl)" : hint,
    });
  }
}
