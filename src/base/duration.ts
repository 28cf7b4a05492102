import { DAY, HOUR, MINUTE, type Milliseconds, SECOND } from "./time.ts";

const UNITS: Readonly<Record<string, Milliseconds>> = { w: 7 * DAY, d: DAY, h: HOUR, m: MINUTE, s: SECOND, ms: 1 };
const PART = /(\d+(?:\.\d+)?)(ms|w|d|h|m|s)/gy;

/** What is a duration in form, and may still be none at all (`0h`) or longer than any. */
export const WITH_UNITS = /^([0-9]+(\.[0-9]+)?(ms|w|d|h|m|s))+$/;

/** What JSON Schemas can say of a duration: its form, and that it is not none at all. */
export const DURATION_PATTERN = `^(?=.*[1-9])${WITH_UNITS.source.slice(1)}`;

/**
 * Parses `30s`, `1h30m`, `7d`, `1.5h`: units `w d h m s ms`, each part with its unit.
 * Returns milliseconds, or undefined where the text is no duration or is none to the millisecond.
 */
export function parseDuration(text: string): Milliseconds | undefined {
  let total = 0;
  PART.lastIndex = 0;
  let end = 0;
  for (let part = PART.exec(text); part !== null; part = PART.exec(text)) {
    total += Number(part[1]) * (UNITS[part[2] ?? ""] ?? Number.NaN);
    end = PART.lastIndex;
  }
  const span = Math.round(total);
  return end === text.length && span > 0 && Number.isSafeInteger(span) ? span : undefined;
}

/** The two largest units of a span, for people: `2 d 3 h`, `47 min`, `0 s`. A negative span is shown as positive. */
export function formatDuration(span: Milliseconds): string {
  const seconds = Math.round(Math.abs(span) / SECOND);
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [seconds % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(" ");
}
