import { stat } from "node:fs/promises";
import { dirname } from "node:path";
import { lookUpGroup, lookUpUser, mayGiveFiles, ownGid, ownGroups, ownUid } from "../../base/accounts.ts";
import type { Grant } from "../../base/acl.ts";
import { AgentError } from "../../base/errors.ts";
import { shellWord } from "../../base/shell-word.ts";
import { MINUTE, type Milliseconds } from "../../base/time.ts";
import type { Output, System } from "../../core/ports.ts";

/** An output's owner, group, mode and ACL in numbers, nothing left open. */
export interface ExactAccess {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly grants: readonly Grant[];
}

/** How long a name's number is believed: accounts change with packages, and directories are far away. */
const BELIEVED: Milliseconds = MINUTE;

/**
 * Turns names into numbers. Throws `DEPLOY_FAILED` for a name that this host does not know, for one twice in an ACL, and
 * for an owner or a group that this process may not give a file to.
 */
export type ResolveAccess = (output: Output) => Promise<ExactAccess>;

/** Names that were found are remembered for a minute; names that were not are looked up every time. */
export function createAccessResolver({ ask, clock }: System): ResolveAccess {
  const known = new Map<string, { readonly id: number; readonly until: Milliseconds }>();

  const idOf = async (kind: "user" | "group", name: string, path: string): Promise<number> => {
    const key = `${kind} ${name}`;
    const entry = known.get(key);
    if (entry !== undefined && entry.until > clock.monotonic()) return entry.id;
    const id = await (kind === "user" ? lookUpUser(name, ask) : lookUpGroup(name, ask));
    if (id === undefined) {
      throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": this host has no ${kind} "${name}"`, {
        hint: `create it (a package may bring it), or name another in the spec; getent ${kind === "user" ? "passwd" : "group"} ${shellWord(name)} shows it`,
      });
    }
    known.set(key, { id, until: clock.monotonic() + BELIEVED });
    return id;
  };

  let mayGive: Promise<boolean> | undefined;
  const requireGift = async (path: string, whom: string, key: string): Promise<void> => {
    mayGive ??= mayGiveFiles();
    if (await mayGive) return;
    throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": this process may not give it to ${whom}`, {
      hint: `leave ${key} out of the spec, or run certagent as root, with CAP_CHOWN`,
    });
  };

  return async ({ path, mode, owner, group, acl }) => {
    const uid = owner === null ? ownUid() : await idOf("user", owner, path);
    const gid = group === null ? ownGid() : await idOf("group", group, path);
    if (uid !== ownUid()) await requireGift(path, `user ${owner}`, "owner");
    if (gid !== ownGid() && !ownGroups().includes(gid) && !(await isInherited(path, gid)))
      await requireGift(path, `group ${group}`, "group");
    const grants: Grant[] = [];
    for (const { tag, qualifier, permissions } of acl) {
      const id = await idOf(tag, qualifier, path);
      if (grants.some((grant) => grant.tag === tag && grant.id === id)) {
        const fact = `its ACL names ${tag} ${id} twice, the second time as "${qualifier}"`;
        throw new AgentError("DEPLOY_FAILED", `Cannot write "${path}": ${fact}`, { hint: "leave one of the two out" });
      }
      grants.push({ tag, id, permissions });
    }
    return { mode, uid, gid, grants };
  };
}

/** Whether a file has this group by its folder. */
async function isInherited(path: string, gid: number): Promise<boolean> {
  const folder = await stat(dirname(path)).catch(() => undefined);
  return folder !== undefined && (folder.mode & 0o2000) !== 0 && folder.gid === gid;
}
