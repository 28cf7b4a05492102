import { config } from "zod";

/**
 * Has zod compile no parser of its own for a schema: each is made for a handful of texts, and to make it takes longer than
 * it saves. To be called before there is a schema.
 */
export function compileNoParsers(): void {
  config({ jitless: true });
}
