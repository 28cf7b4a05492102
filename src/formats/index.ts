import type { Format } from "../core/ports.ts";
import { certificate } from "./certificate.ts";
import { chain } from "./chain.ts";
import { combined } from "./combined.ts";
import { fullchain } from "./fullchain.ts";
import { key } from "./key.ts";
import { roots } from "./roots.ts";

/** Every format that a spec can name. A new one is one file and one word here. */
export const FORMATS: readonly Format[] = [certificate, chain, fullchain, key, combined, roots];

/** The format of that name, or undefined where there is none. */
export function formatNamed(name: string): Format | undefined {
  return FORMATS.find((format) => format.name === name);
}
