import { hash } from "node:crypto";

/** SHA-256 of text or bytes, 64 lower-case hex digits. */
export function sha256(data: string | Uint8Array): string {
  return hash("sha256", data, "hex");
}

/**
 * A number in [0, 1) that is the same for the same text, evenly spread over different texts. Stands where others roll
 * dice: decisions are the same after a restart, and a fleet is spread all the same.
 */
export function fraction(text: string): number {
  return Number.parseInt(sha256(text).slice(0, 8), 16) / 2 ** 32;
}
