import { formatInstant } from "../base/time.ts";
import type { Wait } from "../core/plan.ts";
import type { Managed } from "../core/status.ts";
import { needsAttention, statusOf } from "../core/status.ts";
import type { Memory } from "./memory.ts";

/**
 * Tells why nothing is done now and what comes next, once for each reason and generation. A failure of a step has said
 * when it is tried again by itself; what only holds a certificate back (a missing user, the storm breaker, a file that
 * somebody else writes) is said here.
 */
export function tellWait(memory: Memory, managed: Managed, { because, next }: Wait): void {
  const { world, name, facts, newest } = memory;
  const reason = `${newest?.number} ${because}`;
  if (reason === memory.waitsFor) return;
  memory.waitsFor = reason;
  if (Object.values(facts.failures).some((streak) => streak?.message === because)) return;
  const status = statusOf(managed, world.clock.now());
  const { failure } = status;
  const isFailure = failure !== null && failure.message === because;
  const fields = {
    certificate: name,
    state: status.state,
    because,
    code: failure?.code,
    reason: isFailure ? undefined : failure?.message,
    hint: failure?.hint ?? undefined,
    next: next?.action,
    at: next === null ? undefined : formatInstant(next.at),
  };
  if (needsAttention(status)) world.log.warning("waiting", fields);
  else world.log.info("waiting", fields);
}
