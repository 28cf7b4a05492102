/** Writes the reference pages of host configuration and specs from their schemas. A test fails when they are stale. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { jsonSchema, type SchemaName } from "../src/spec/schema.ts";

interface Node {
  readonly title?: string;
  readonly description?: string;
  readonly type?: string;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly examples?: readonly unknown[];
  readonly default?: unknown;
  readonly not?: object;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly items?: Node;
  readonly additionalProperties?: Node | false;
  readonly oneOf?: readonly Node[];
  readonly anyOf?: readonly Node[];
}

const INTRODUCTION: Readonly<Record<SchemaName, string>> = {
  host: `# Reference: certagent.yaml

One file a host, \`/etc/certagent/certagent.yaml\`: the CAs, and what is the same for all specs. No secret stands in it.
An annotated sample is [config/certagent.yaml](../../config/certagent.yaml).`,
  spec: `# Reference: specs

One file a certificate, \`/etc/certagent.d/NAME.yaml\`. In every text \`\${fqdn}\` and \`\${hostname}\` are this host's names.
Durations have units (\`30s\`, \`24h\`, \`7d\`), modes are quoted strings. Annotated samples are in
[config/specs](../../config/specs).`,
};

/** The reference page of one kind of file, in Markdown. */
export function referencePage(name: SchemaName): string {
  const schema = jsonSchema(name) as Node;
  const origin = "This page is made from the schema by `node scripts/docs.ts`; change the schema, not the page.";
  // What several kinds have in common is shown once.
  const parts = new Set([
    INTRODUCTION[name],
    origin,
    ...section("", schema).map(({ head, table }) => `${head}${table}`),
  ]);
  return `${[...parts].join("\n\n")}\n`;
}

interface Section {
  /** Its heading and description, each with a blank line after it; "" at the top of the page. */
  readonly head: string;
  readonly table: string;
}

/** A table of the keys of a map, then a section for each key that holds maps of its own. */
function section(path: string, node: Node, head = ""): readonly Section[] {
  const keys = Object.entries(node.properties ?? {}).filter(([, value]) => value.not === undefined);
  const rows = keys.map(([key, value]) => row(key, value, node.required?.includes(key) ?? false));
  const table = ["| key | what it takes | |", "| --- | --- | --- |", ...rows].join("\n");
  const inner = keys.flatMap(([key, value]) => sectionsBelow(path === "" ? key : `${path}.${key}`, value));
  return [{ head, table }, ...inner];
}

function sectionsBelow(path: string, node: Node): readonly Section[] {
  if (node.items !== undefined) return sectionsBelow(`${path}[]`, node.items);
  const { oneOf, properties, additionalProperties: values } = node;
  if (typeof values === "object") return sectionsBelow(`${path}.NAME`, values);
  if (oneOf !== undefined) {
    return oneOf.flatMap((kind) => section(path, kind, headOf(`${path}\` of type \`${kindOf(kind)}`, kind)));
  }
  return properties === undefined ? [] : section(path, node, headOf(path, node));
}

function headOf(title: string, node: Node): string {
  const about = sentence(node.description);
  return `## \`${title}\`\n\n${about === "" ? "" : `${about}\n\n`}`;
}

/** Kinds are told apart by their `type`. */
function kindOf(node: Node): string {
  return text(node.properties?.["type"]?.const);
}

function sentence(description = ""): string {
  return /[^.]$/.test(description) ? `${description}.` : description;
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function row(key: string, node: Node, isRequired: boolean): string {
  const notes = [isRequired ? "**Required.**" : "", sentence(node.description), defaultOf(node), exampleOf(node)];
  return `| \`${key}\` | ${shapeOf(node)} | ${notes.filter((note) => note !== "").join(" ")} |`;
}

function shapeOf(node: Node): string {
  if (node.const !== undefined) return `\`${text(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${text(value)}\``).join(", ");
  if (node.items !== undefined) return `list of ${shapeOf(node.items)}`;
  if (node.anyOf !== undefined) return node.anyOf.map(shapeOf).join(" or ");
  if (typeof node.additionalProperties === "object") return "names, each with a map";
  if (node.type === "object" || node.oneOf !== undefined) return "map";
  return { boolean: "true or false", integer: "number", number: "number" }[node.type ?? ""] ?? "text";
}

function defaultOf(node: Node): string {
  return node.default === undefined ? "" : `Default: \`${text(node.default)}\`.`;
}

function exampleOf(node: Node): string {
  const [example] = node.examples ?? [];
  return example === undefined ? "" : `Example: \`${JSON.stringify(example)}\`.`;
}

/** Where the pages are, from the top of the repository. */
export function pageFile(name: SchemaName): string {
  return join(import.meta.dirname, "..", "docs", "reference", `${name}.md`);
}

if (import.meta.main) {
  for (const name of ["host", "spec"] as const) {
    mkdirSync(join(pageFile(name), ".."), { recursive: true });
    writeFileSync(pageFile(name), referencePage(name));
  }
}
