/** What the reference pages of configuration and specs say, from their schemas: tables of keys, in inline Markdown. */
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

/** A map of the configuration. */
export interface Section {
  /** Where it is, in Markdown; "" for the file as a whole. */
  readonly title: string;
  readonly about: string;
  readonly rows: readonly Row[];
}

/** A key of it. */
export interface Row {
  readonly key: string;
  readonly shape: string;
  readonly notes: string;
}

/** The file as a whole, then each map in it. */
export function reference(name: SchemaName): readonly Section[] {
  const parts = section("", jsonSchema(name) as Node);
  // What several kinds have in common is shown once.
  const texts = parts.map((part) => JSON.stringify(part));
  return parts.filter((_part, index) => texts.indexOf(texts[index] ?? "") === index);
}

/** Its keys, then a section for each key that holds maps of its own. */
function section(path: string, node: Node, title = "", about = ""): readonly Section[] {
  const keys = Object.entries(node.properties ?? {}).filter(([, value]) => value.not === undefined);
  const rows = keys.map(([key, value]) => row(key, value, node.required?.includes(key) ?? false));
  const inner = keys.flatMap(([key, value]) => sectionsBelow(path === "" ? key : `${path}.${key}`, value));
  return [{ title, about, rows }, ...inner];
}

function sectionsBelow(path: string, node: Node): readonly Section[] {
  if (node.items !== undefined) return sectionsBelow(`${path}[]`, node.items);
  const { oneOf, properties, additionalProperties: values } = node;
  if (typeof values === "object") return sectionsBelow(`${path}.NAME`, values);
  if (oneOf !== undefined) {
    return oneOf.flatMap((kind) =>
      section(path, kind, `\`${path}\` of type \`${kindOf(kind)}\``, sentence(kind.description)),
    );
  }
  return properties === undefined ? [] : section(path, node, `\`${path}\``, sentence(node.description));
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

function row(key: string, node: Node, isRequired: boolean): Row {
  const notes = [isRequired ? "**Required.**" : "", sentence(node.description), defaultOf(node), exampleOf(node)];
  return { key, shape: shapeOf(node), notes: notes.filter((note) => note !== "").join(" ") };
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
