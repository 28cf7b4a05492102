import { printable, shortened } from "../../base/printable.ts";

/** How much of what a CA says is shown. */
const MOST_CHARACTERS = 512;

/** A proxy may repeat the token that it refuses, which the CA has then not seen: who reads it could use it. */
const TOKEN = /eyJ[\w-]{8,}(?:\.[\w-]*)*/g;

/** Text from the other side as one harmless line of at most 512 characters, without tokens. */
export function remoteText(text: string): string {
  const begin = text.slice(0, MOST_CHARACTERS * 2).replace(TOKEN, "[token]");
  return shortened(printable(begin.trim()), MOST_CHARACTERS);
}
