import { basename } from "node:path";
import { AgentError } from "../base/errors.ts";
import { nearest } from "../base/nearest.ts";
import { formatInstant, type Instant } from "../base/time.ts";
import type { ApplyMode, PlanDocument, StatusDocument } from "../core/status-document.ts";
import type { Agent } from "./agent.ts";
import type { ControlledAgent } from "./control.ts";

/** Who the agent is, for the head of `status`. */
export interface Identity {
  readonly version: string;
  readonly pid: number;
  readonly since: Instant;
  readonly apply: ApplyMode;
}

/** The agent as it is asked over the control socket. */
export function controlled(agent: Agent, { version, pid, since, apply }: Identity): ControlledAgent {
  const head = { running: true, pid, version, since: formatInstant(since), apply };
  return {
    status: async (names): Promise<StatusDocument> => {
      checkNames(agent, names);
      await agent.seen(names);
      return { agent: head, problems: agent.problems(), certificates: agent.status(names) };
    },
    plan: async (names, signal): Promise<PlanDocument> => {
      checkNames(agent, names);
      return { certificates: await agent.plan(names, signal) };
    },
    renew: async (names, onProgress, signal) => {
      const chosen = names === "all" ? agent.names() : names;
      checkNames(agent, chosen);
      return agent.renew(chosen, ({ name, message }) => onProgress({ name, message }), signal);
    },
  };
}

/** How many names a hint lists. */
const LISTED = 20;

/** Throws `USAGE` for a spec that does not exist. */
export function checkNames(agent: Pick<Agent, "names">, names: readonly string[]): void {
  const known = agent.names();
  const unknown = names.find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new AgentError("USAGE", `There is no spec "${unknown}"`, { hint: hintFor(unknown, known) });
}

/** A file's name, or its path, is taken for the spec in it. */
function hintFor(unknown: string, known: readonly string[]): string {
  if (known.length === 0) return "there are no specs";
  const meant = nearest(basename(unknown, ".yaml"), known);
  if (meant !== undefined) return `did you mean "${meant}"?`;
  const rest = known.length > LISTED ? ` and ${known.length - LISTED} more: certagent status` : "";
  return `there are: ${known.slice(0, LISTED).join(", ")}${rest}`;
}
