/** More than PATH_MAX: neither path nor pattern. */
const LONGEST = 4096;

/** How much may be looked at before the answer is no; taken from it is what a match took. */
export interface Patience {
  steps: number;
}

/**
 * Whether a path is one that a pattern of glob(3) means, with `*`, `?` and `[…]`, none of which stands for a slash. A
 * star is only ever made longer where it is the last one, as no earlier one could help: no pattern takes exponential time.
 */
export function matchesPattern(path: string, pattern: string, patience: Patience): boolean {
  if (path.length > LONGEST || pattern.length > LONGEST) return false;
  const wanted = pattern.match(/\[[!^]?\]?[^\]]*\]|./gs) ?? [];
  let [at, next] = [0, 0];
  let star: { next: number; at: number } | undefined;
  while (at < path.length) {
    if (patience.steps-- <= 0) return false;
    const one = wanted[next];
    if (one === "*") {
      next += 1;
      star = { next, at };
    } else if (one !== undefined && isOne(path.charAt(at), one)) {
      next += 1;
      at += 1;
    } else if (star !== undefined && path[star.at] !== "/") {
      star.at += 1;
      ({ next, at } = star);
    } else {
      return false;
    }
  }
  return wanted.slice(next).every((one) => one === "*");
}

function isOne(character: string, wanted: string): boolean {
  if (character === "/" || (wanted.length === 1 && wanted !== "?")) return character === wanted;
  if (wanted === "?") return true;
  const isNegated = /^\[[!^]/.test(wanted);
  const members = wanted.slice(isNegated ? 2 : 1, -1).matchAll(/(.)-(.)|(.)/gs);
  const isMember = members.some(([, from = "", to = "", single]) =>
    single === undefined ? from <= character && character <= to : single === character,
  );
  return isMember !== isNegated;
}
