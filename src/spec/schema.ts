import * as z from "zod";
import { hostSchema } from "./host.ts";
import { specSchema } from "./spec.ts";

/** The files that operators write. */
export const SCHEMAS = { host: hostSchema, spec: specSchema } as const;

export type SchemaName = keyof typeof SCHEMAS;

// biome-ignore lint/suspicious/noTemplateCurlyInString: the words of specs
const FACT = "\\$\\{(fqdn|hostname)\\}";

/**
 * The JSON Schema (draft 2020-12) of what operators write, for editors: it refuses no file that certagent takes, and
 * knows every key. What JSON Schema cannot say is left to `certagent check`.
 */
export function jsonSchema(name: SchemaName): z.core.JSONSchema.BaseSchema {
  return z.toJSONSchema(SCHEMAS[name], {
    io: "input",
    target: "draft-2020-12",
    override: ({ jsonSchema: node }) => {
      if (node.type !== "string") return;
      // An editor sees a text before its facts are replaced. A node comes by once for each step of its schema.
      delete node.maxLength;
      if (node.pattern?.startsWith(FACT) === false) node.pattern = `${FACT}|${node.pattern}`;
    },
  });
}
