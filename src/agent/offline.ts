import type { PlanDocument, StatusDocument } from "../core/status-document.ts";
import type { Agent } from "./agent.ts";
import { checkNames } from "./controlled.ts";

/** `status` without a daemon: what is on disk, looked at once. Throws `USAGE` for a spec that does not exist. */
export async function statusFromDisk(
  agent: Agent,
  { version, names }: { readonly version: string; readonly names: readonly string[] },
  signal: AbortSignal,
): Promise<StatusDocument> {
  await agent.reread();
  checkNames(agent, names);
  await agent.look(signal);
  return {
    agent: { running: false, pid: null, version, since: null, apply: null },
    problems: agent.problems(),
    certificates: agent.status(names),
  };
}

/** `plan` without a daemon. Throws `USAGE` for a spec that does not exist. */
export async function planFromDisk(
  agent: Agent,
  { names }: { readonly names: readonly string[] },
  signal: AbortSignal,
): Promise<PlanDocument> {
  await agent.reread();
  checkNames(agent, names);
  return { certificates: await agent.plan(names, signal) };
}
