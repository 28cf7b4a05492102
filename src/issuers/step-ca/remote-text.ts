import { printable, shortened } from "../../base/printable.ts";

/** How much of what a CA says is shown. */
const MOST_CHARACTERS = 512;

/** Text from the other side as one harmless line of at most 512 characters. */
export function remoteText(text: string): string {
  return shortened(printable(text.slice(0, MOST_CHARACTERS * 2).trim()), MOST_CHARACTERS);
}
