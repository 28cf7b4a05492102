import { AgentError } from "../base/errors.ts";
import type { Output } from "../core/ports.ts";

/**
 * What PostgreSQL would refuse of the key's owner and mode, judged from the spec: it wants a key that is its own and
 * nobody else's, or root's and at most readable by its group (PostgreSQL, "Secure TCP/IP Connections with SSL"). Each
 * ACL entry counts as group bits, as stat(2) shows them. Of several keys one is enough: others may be other services'.
 */
export function keyRefusal(outputs: readonly Output[]): AgentError | undefined {
  const refusals = outputs.filter(({ format }) => format.holdsKey).map(refusalOf);
  return refusals.every((refused) => refused !== undefined) ? refusals[0] : undefined;
}

function refusalOf({ path, owner, group, mode, acl }: Output): AgentError | undefined {
  const rootOwned = isRoot(owner);
  const forbidden = rootOwned ? 0o037 : 0o077;
  if ((mode & forbidden) !== 0) return refusal(path, mode, rootOwned);
  if (!rootOwned || !isRoot(group) || acl.length > 0) return undefined;
  return new AgentError("RELOAD_FAILED", `Cannot have PostgreSQL read "${path}": it belongs to root and group root`, {
    hint: 'write owner: postgres with mode: "0600", or group: ssl-cert (or postgres) with mode: "0640"',
  });
}

function isRoot(name: string | null): boolean {
  return name === "root" || name === "0" || (name === null && process.getuid?.() === 0);
}

function refusal(path: string, mode: number, rootOwned: boolean): AgentError {
  const octal = mode.toString(8).padStart(4, "0");
  const [owned, allowed, hint] = rootOwned
    ? ["root", "at most readable by its group", 'write mode: "0640", with the group of PostgreSQL']
    : [
        "its own user",
        "closed to everyone else, ACL entries included",
        'write mode: "0600" and no acl, or owner: root',
      ];
  const message = `Cannot have PostgreSQL use the key "${path}": mode ${octal}, and a key of ${owned} must be ${allowed}`;
  return new AgentError("RELOAD_FAILED", message, { hint });
}
