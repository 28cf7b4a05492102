/**
 * Writes what is made from the schemas and the table of commands: the reference pages, the manual pages and the
 * completions of shells. Tests fail when they are stale.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { SchemaName } from "../src/spec/schema.ts";
import { completions } from "./completions.ts";
import { manualPages } from "./manual.ts";
import { ROOT } from "./pinned-node.mjs";
import { reference, type Section } from "./reference.ts";

const INTRODUCTION: Readonly<Record<SchemaName, string>> = {
  host: `# Reference: certagent.yaml

One file a host, \`/etc/certagent/certagent.yaml\`: the CAs, and what is the same for all specs. No secret stands in it.
An annotated sample is [config/certagent.yaml](../../config/certagent.yaml).`,
  spec: `# Reference: specs

One file a certificate, \`/etc/certagent.d/NAME.yaml\`. In every text \`\${fqdn}\` and \`\${hostname}\` are this host's names; on one
that is still called localhost they are refused. Durations have units (\`30s\`, \`24h\`, \`7d\`), modes are quoted strings. Annotated samples are in
[config/specs](../../config/specs).`,
};

/** The reference page of one kind of file, in Markdown. */
function referencePage(name: SchemaName): string {
  const origin = "This page is made from the schema by `node scripts/docs.ts`; change the schema, not the page.";
  return `${[INTRODUCTION[name], origin, ...reference(name).map(markdown)].join("\n\n")}\n`;
}

function markdown({ title, about, rows }: Section): string {
  const head = [title === "" ? "" : `## ${title}`, about].filter((part) => part !== "").map((part) => `${part}\n\n`);
  const lines = rows.map(({ key, shape, notes }) => `| \`${key}\` | ${shape} | ${notes} |`);
  return `${head.join("")}${["| key | what it takes | |", "| --- | --- | --- |", ...lines].join("\n")}`;
}

/** Everything that is made so: path from the top of the repository → text. */
export function generatedFiles(): ReadonlyMap<string, string> {
  return new Map([
    ["docs/reference/host.md", referencePage("host")],
    ["docs/reference/spec.md", referencePage("spec")],
    ...manualPages(),
    ...completions(),
  ]);
}

if (import.meta.main) {
  for (const [path, text] of generatedFiles()) {
    mkdirSync(dirname(join(ROOT, path)), { recursive: true });
    writeFileSync(join(ROOT, path), text);
  }
}
