import { AgentError } from "../base/errors.ts";
import type { Invocation, Option, World } from "./command.ts";

export const APPLY_OPTION: Option = {
  name: "apply",
  value: "HOW",
  default: "direct",
  choices: ["direct", "broker"],
  description: "who writes outputs and reloads services: this process, or certagent-apply.service",
};

/** Throws where certagent cannot do its work as it was started. */
export function checkStart(invocation: Invocation, { env }: World): void {
  if (invocation.value("apply") === "broker") {
    throw new AgentError("STATE_UNUSABLE", "Cannot apply through a broker: this version writes by itself only", {
      hint: "leave out --apply, or use --apply direct",
    });
  }
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] === "0") {
    throw new AgentError("ISSUER_REJECTED", "Cannot trust any CA: NODE_TLS_REJECT_UNAUTHORIZED=0 is set", {
      hint: "unset NODE_TLS_REJECT_UNAUTHORIZED; a CA's root is pinned in the host configuration",
    });
  }
}
