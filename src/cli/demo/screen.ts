import { formatDuration } from "../../base/duration.ts";
import { type Instant, type Milliseconds, repeat, SECOND, systemClock } from "../../base/time.ts";
import { lifetimeOf, renewalWindow, type Validity } from "../../core/renewal.ts";
import type { Print, Text } from "../print.ts";

/** What kind of event it is: done by the demo, seen to be well, broken on purpose, or what certagent says of that. */
export type Tone = "done" | "well" | "broken" | "noticed";

const STYLES = { done: "bold", well: "green", broken: "yellow", noticed: "red" } as const;

/** The story as it is told: one line an event, and on a terminal a line below that moves. */
export interface Screen extends Disposable {
  event(tone: Tone, word: string, text: string): void;
  /** What is waited for from now on. */
  wait(step: number, what: string): void;
  /** The certificate in force, for the bar of its lifetime. */
  show(leaf: Validity): void;
  /** Since the beginning. */
  elapsed(): Milliseconds;
}

const REDRAW_EVERY: Milliseconds = 0.1 * SECOND;
const LONGEST_WORD = 9;

export function openScreen(print: Print, steps: number): Screen {
  const startedAt = systemClock.monotonic();
  const elapsed = (): Milliseconds => systemClock.monotonic() - startedAt;
  let waiting = { step: 1, what: "" };
  let leaf: Validity | undefined;
  const draw = (): void => {
    const { step, what } = waiting;
    const life = leaf === undefined ? [] : lifeBar(leaf, systemClock.now());
    const time = { text: ` ${formatDuration(elapsed())} `, style: "dim" } as const;
    print.progress(time, { text: `step ${step} of ${steps}: `, style: "bold" }, `${what}  `, ...life);
  };
  const drawing = repeat(REDRAW_EVERY, draw);
  return {
    event: (tone, word, text) => {
      const time = `${(elapsed() / SECOND).toFixed(1).padStart(5)} s  `;
      print.line({ text: time, style: "dim" }, { text: word.padEnd(LONGEST_WORD), style: STYLES[tone] }, `  ${text}`);
      draw();
    },
    wait: (step, what) => {
      waiting = { step, what };
      draw();
    },
    show: (validity) => {
      leaf = validity;
    },
    elapsed,
    [Symbol.dispose]: () => {
      drawing[Symbol.dispose]();
      print.progress();
    },
  };
}

const CELLS = 24;

/** A lifetime from left to right: what is over, what is left, and the renewal window in it. */
export function lifeBar(leaf: Validity, now: Instant): readonly Text[] {
  const lifetime = lifetimeOf(leaf);
  const window = renewalWindow(leaf, null);
  const over = now > window.end ? "red" : now > window.start ? "yellow" : "green";
  const cells = Array.from({ length: CELLS }, (_, cell): Text => {
    const at = leaf.notBefore + ((cell + 0.5) / CELLS) * lifetime;
    if (at <= now) return { text: "█", style: over };
    return at >= window.start && at <= window.end ? { text: "▒", style: "yellow" } : { text: "░", style: "dim" };
  });
  const left = Math.max(0, leaf.notAfter - now) / SECOND;
  return [...cells, { text: ` ${left.toFixed(0)} s left`, style: "dim" }];
}
