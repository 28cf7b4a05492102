import { HOUR, type Instant } from "../base/time.ts";
import { isWithin, withoutDelay } from "../core/facts.ts";
import type { Memory } from "./memory.ts";

/** What another secret may mend. */
const SECRETS_MEND: ReadonlySet<string> = new Set(["CREDENTIAL_MISSING", "ISSUER_REJECTED"]);

/** Whoever writes a secret anew each minute does not have a CA asked each minute that refuses it. */
const MOST_NOTICED = 3;

/** One that was put in its place since is tried at once: a one-time token is worth nothing after minutes. */
export async function noticeSecret(memory: Memory): Promise<void> {
  const { world, desired, facts } = memory;
  const streak = facts.failures.issue;
  if (streak === null || !SECRETS_MEND.has(streak.code) || streak.tryAt <= world.clock.now()) return;
  const sinceWhen = async (): Promise<Instant | null> => await world.issuer(desired.request.issuer).secretSince();
  const since = await sinceWhen().catch(() => null); // an issuer that is configured no more
  const now = world.clock.now();
  if (since === null || since <= streak.at || since > now) return;
  if (streak.code === "ISSUER_REJECTED") {
    const recent = memory.noticed.filter((at) => isWithin(at, now, HOUR));
    if (recent.length >= MOST_NOTICED) return;
    memory.noticed = [...recent, now];
  }
  memory.facts = withoutDelay(memory.facts, "issue", now);
}
