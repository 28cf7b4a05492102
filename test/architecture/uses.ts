import { parseSync, Visitor } from "oxc-parser";

/** What a source file does that a rule may forbid, by a name that the rules match: see {@link usesOf}. */
export interface Use {
  readonly name: string;
  readonly line: number;
}

/**
 * Reads one source file and names what it does, in order of lines:
 * - `import node:fs`, `import zod`, `import ./x.ts` – also for `export … from` and `import()`
 * - `node:fs#rename` – a name taken from a module
 * - `Date.now`, `fs.rename` – a member of something that has a name (`globalThis.` is left out)
 * - `setTimeout` – a name by itself
 * - `new Date()` – a constructor without arguments
 * - `=== "text"` – what is compared with a text, by an operator, a case or as a key
 * - `extends Error`, `export default`, `re-export`, `enum`
 *
 * Words in comments, strings and property names are none of these. Throws where the file does not parse.
 */
export function usesOf(file: string, text: string): readonly Use[] {
  const { program, errors } = parseSync(file, text);
  if (errors.length > 0) throw new Error(`${file}: ${errors[0]?.message}`);
  const uses: Use[] = [];
  const properties = new Set<object>();
  const add = (node: { readonly start: number }, name: string): void => {
    uses.push({ name, line: text.slice(0, node.start).split("\n").length });
  };
  const compares = (node: { readonly start: number }, other: { readonly type: string }): void => {
    const text = textOf(other);
    if (text !== undefined) add(node, `=== ${JSON.stringify(text)}`);
  };
  new Visitor({
    ImportDeclaration: (node) => {
      add(node, `import ${node.source.value}`);
      for (const specifier of node.specifiers) {
        if (specifier.type === "ImportSpecifier") add(specifier, `${node.source.value}#${nameOf(specifier.imported)}`);
      }
    },
    ImportExpression: (node) => {
      add(node, node.source.type === "Literal" ? `import ${String(node.source.value)}` : "import of a computed name");
    },
    ExportAllDeclaration: (node) => {
      add(node, `import ${node.source.value}`);
      add(node, "re-export");
    },
    ExportNamedDeclaration: (node) => {
      if (node.source === null) return;
      add(node, `import ${node.source.value}`);
      add(node, "re-export");
    },
    ExportDefaultDeclaration: (node) => add(node, "export default"),
    TSExportAssignment: (node) => add(node, "export default"),
    TSEnumDeclaration: (node) => add(node, "enum"),
    ClassDeclaration: (node) => {
      if (node.superClass !== null) add(node, `extends ${nameOf(node.superClass)}`);
    },
    BinaryExpression: (node) => {
      if (!/^[!=]==?$/.test(node.operator)) return;
      for (const side of [node.left, node.right]) compares(node, side);
    },
    SwitchCase: (node) => {
      if (node.test !== null) compares(node, node.test);
    },
    MemberExpression: (node) => {
      if (node.computed) compares(node, node.property);
      if (node.computed) return;
      properties.add(node.property);
      add(node, `${nameOf(node.object)}.${nameOf(node.property)}`);
    },
    // `const { env } = process` is `process.env` in other words.
    VariableDeclarator: ({ id, init }) => {
      if (id.type !== "ObjectPattern" || init?.type !== "Identifier") return;
      for (const property of id.properties) {
        if (property.type === "Property") add(property, `${init.name}.${nameOf(property.key)}`);
      }
    },
    Property: (node) => {
      if (!node.computed && !node.shorthand) properties.add(node.key);
    },
    NewExpression: (node) => {
      if (node.arguments.length === 0) add(node, `new ${nameOf(node.callee)}()`);
    },
    Identifier: (node) => {
      if (!properties.has(node)) add(node, node.name);
    },
  }).visit(program);
  return uses;
}

/** The text that stands there; undefined for anything else. */
function textOf(node: { readonly type: string }): string | undefined {
  if (node.type === "Literal" && "value" in node && typeof node.value === "string") return node.value;
  if (node.type !== "TemplateLiteral" || !("quasis" in node)) return undefined;
  const [only, ...others] = node.quasis as readonly { readonly value: { readonly cooked: string | null } }[];
  return others.length === 0 ? (only?.value.cooked ?? undefined) : undefined;
}

/** `Date` for a name, `now` for the last part of `globalThis.Date.now`, "…" for what has no name. */
function nameOf(node: { readonly type: string }): string {
  if ("name" in node && typeof node.name === "string") return node.name;
  if ("property" in node) return nameOf(node.property as { type: string });
  return "…";
}
