import { createHash } from "node:crypto";

/** SHA-256 of text or bytes, 64 lower-case hex digits. */
export function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}

/**
 * A number in [0, 1) that is the same for the same text, evenly spread over different texts. Stands where others roll
 * dice: decisions are the same after a restart, and a fleet is spread all the same.
 */
export function fraction(text: string): number {
  return createHash("sha256").update(text).digest().readUInt32BE(0) / 2 ** 32;
}
