import { formatDuration } from "../base/duration.ts";
import { type Instant, SECOND } from "../base/time.ts";

/** An RFC 3339 time as people say it: `in 3 h 12 min`, `2 d ago`, `now`. */
export function relative(time: string, now: Instant): string {
  const span = Date.parse(time) - now;
  if (Math.abs(span) < SECOND) return "now";
  return span > 0 ? `in ${formatDuration(span)}` : `${formatDuration(span)} ago`;
}
