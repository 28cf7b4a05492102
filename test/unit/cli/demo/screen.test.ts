import { expect, test } from "vitest";
import { lifeBar, openScreen } from "../../../../src/cli/demo/screen.ts";
import { type Channel, createPrint } from "../../../../src/cli/print.ts";

const life = { notBefore: 0, notAfter: 24_000 };

const barAt = (now: number): string =>
  lifeBar(life, now)
    .map((piece) => (typeof piece === "string" ? piece : piece.text))
    .join("");

test("lifeBar() fills with time and marks the window from 1/2 to 2/3 of the lifetime", () => {
  expect(barAt(0)).toBe("░░░░░░░░░░░░▒▒▒▒░░░░░░░░ 24 s left");
  expect(barAt(6000)).toBe("██████░░░░░░▒▒▒▒░░░░░░░░ 18 s left");
  expect(barAt(14_000)).toBe("██████████████▒▒░░░░░░░░ 10 s left");
  expect(barAt(30_000)).toBe("████████████████████████ 0 s left");
});

test("lifeBar() is green before the window, yellow in it and red after it", () => {
  const styles = [6000, 14_000, 20_000].map((now) => lifeBar(life, now)[0]);

  expect(styles).toEqual(["green", "yellow", "red"].map((style) => ({ text: "█", style })));
});

function sink(isTerminal: boolean, isColoured = isTerminal): Channel & { text: string } {
  return {
    text: "",
    isTerminal,
    isColoured,
    size: () => (isTerminal ? { columns: 60, rows: 24 } : undefined),
    write(text) {
      this.text += text;
    },
  };
}

/** What stands on a terminal after a text with lines that are redrawn. */
const shown = (text: string): readonly string[] =>
  text
    .replaceAll(/\x1b\[\d*m/g, "")
    .split("\n")
    .map((line) => line.replace(/^[^]*\r/, "").replace("\x1b[K", ""));

test("an event takes the place of the progress line, which comes again below it, and is gone in the end", () => {
  const out = sink(true);
  const print = createPrint(out, sink(true));
  const screen = openScreen(print, 8);

  screen.wait(3, "renewal in its window");
  screen.event("well", "renewed", "at 58 % of its lifetime");
  const lines = shown(out.text);
  screen[Symbol.dispose]();

  expect(lines[0]).toMatch(/^ +\d+\.\d s {2}renewed {4}at 58 % of its lifetime$/);
  expect(lines[1]).toMatch(/^ 0 s step 3 of 8: renewal in its window/);
  expect(shown(out.text)).toEqual([lines[0], ""]);
});

test("the progress line is never wider than the terminal", () => {
  const out = sink(true);
  const screen = openScreen(createPrint(out, sink(true)), 8);

  screen.wait(3, "x".repeat(100));
  screen[Symbol.dispose]();

  expect(Math.max(...out.text.split("\r").map((line) => shown(line)[0]?.length ?? 0))).toBe(59);
});

test.each([
  ["a pipe", sink(false)],
  ["a terminal with NO_COLOR", sink(true, false)],
])("%s gets lines and no escape sequence", (_, out) => {
  const screen = openScreen(createPrint(out, sink(false)), 8);

  screen.wait(3, "renewal in its window");
  screen.event("well", "renewed", "at 58 %");
  screen[Symbol.dispose]();

  expect(out.text).toMatch(/^ +\d+\.\d s {2}renewed {4}at 58 %\n$/);
});
