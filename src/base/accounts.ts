import { readFile } from "node:fs/promises";
import type { Run } from "./run.ts";
import { SECOND } from "./time.ts";

/** The user's number, by name or number; undefined where this host has no such user. */
export function lookUpUser(user: string, run: Run): Promise<number | undefined> {
  return lookUp("passwd", user, run);
}

/** The group's number, by name or number; undefined where this host has no such group. */
export function lookUpGroup(group: string, run: Run): Promise<number | undefined> {
  return lookUp("group", group, run);
}

/** /etc first, as that needs no process; `getent` for what LDAP, sssd or systemd-userdb know. */
async function lookUp(database: "passwd" | "group", name: string, run: Run): Promise<number | undefined> {
  if (/^\d+$/.test(name)) return Number(name);
  const local = await readFile(`/etc/${database}`, "utf8").catch(() => "");
  const number = numberIn(local.split("\n").find((line) => line.startsWith(`${name}:`)));
  if (number !== undefined) return number;
  try {
    const { exitCode, output } = await run(["getent", database, name], { timeout: 10 * SECOND });
    // A directory may answer with its own spelling of the name, or with the domain behind it.
    return exitCode === 0 ? numberIn(output.split("\n")[0]) : undefined;
  } catch {
    return undefined; // no getent: a host without NSS has nothing beyond /etc
  }
}

/** What an entry of passwd or group has in its third field. */
function numberIn(entry = ""): number | undefined {
  const number = entry.split(":")[2] ?? "";
  return /^\d+$/.test(number) ? Number(number) : undefined;
}

/** The user that certagent runs as. */
export function ownUid(): number {
  return process.geteuid?.() ?? 0;
}

/** The group that certagent runs as. */
export function ownGid(): number {
  return process.getegid?.() ?? 0;
}

/** Further groups that certagent runs with: it may give its files to them without any capability. */
export function ownGroups(): readonly number[] {
  return process.getgroups?.() ?? [];
}

/** Whether this process may give files to anybody: CAP_CHOWN, the lowest bit of its capabilities. Root may lack it. */
export async function mayGiveFiles(): Promise<boolean> {
  const status = await readFile("/proc/self/status", "utf8").catch(() => "");
  const lowest = /^CapEff:\s*[0-9a-f]*([0-9a-f])$/m.exec(status)?.[1];
  return lowest === undefined ? ownUid() === 0 : (Number.parseInt(lowest, 16) & 1) === 1;
}
