/** Which nginx is meant where a host has several: each has a configuration of its own. */
import { basename } from "node:path";
import type { System } from "../core/ports.ts";
import { startedBy } from "./unit.ts";

/** The one in PATH, with the configuration that it was built for. */
export const HOSTS_OWN: readonly string[] = ["nginx"];

/** nginx as a command calls it, without what it is to do (`-tq`, `-s reload`); undefined where that calls another program. */
export function calledBy([program = "", ...words]: readonly string[] = []): readonly string[] | undefined {
  if (!isNginx(program)) return undefined;
  return [program, ...words.filter((word, at) => !/^-(?:[tTq]+|s.*)$/.test(word) && words[at - 1] !== "-s")];
}

/** nginx as its unit starts it, by `-c /etc/nginx/two.conf` or `-p /srv/nginx`; the host's own where that does not tell. */
export async function startedByUnit(system: System, unit: string, signal: AbortSignal): Promise<readonly string[]> {
  const { path, words } = await startedBy(system, unit, signal);
  if (!isNginx(path)) return HOSTS_OWN;
  const configured = words.flatMap((word, at) => {
    const [, option, attached = ""] = /^-([cpe])(.*)$/.exec(word) ?? [];
    const value = attached === "" ? words[at + 1] : attached;
    return option === undefined || value === undefined ? [] : [`-${option}`, value];
  });
  // What only systemd knows, such as an EnvironmentFile=, it keeps to itself.
  return configured.some((word) => word.includes("$")) ? HOSTS_OWN : [path, ...configured];
}

function isNginx(program: string): boolean {
  return basename(program) === "nginx";
}
