import * as z from "zod";
import { nearest } from "../base/nearest.ts";

type Issue = z.core.$ZodRawIssue;

/**
 * What zod found, in certagent's words: a predicate of the key (`must be a list, not the number 5`), and after a newline
 * the hint. It serves every schema that brings no words of its own, so that none of zod's are ever seen.
 */
export function describe(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return mustBe(issue, EXPECTED[issue.expected] ?? `a ${issue.expected}`, shapeHint(issue) ?? exampleOf(issue));
    case "invalid_value":
      return oneOf(issue.values.map(String), issue.input);
    case "invalid_union":
      return describeUnion(issue);
    case "unrecognized_keys":
      // Not for people: `complain` makes one problem of each key and picks the nearest of these.
      return knownKeys(issue).join("\n");
    case "invalid_key":
      return withHint("cannot be a name", NAME_RULE);
    case "too_small":
      return issue.minimum === 1 ? "must not be empty" : `must have at least ${issue.minimum} ${unitOf(issue)}`;
    case "too_big":
      return `must have at most ${issue.maximum} ${unitOf(issue)}`;
    default:
      return withHint(`cannot be ${show(issue.input)}`, exampleOf(issue));
  }
}

/** What an issuer may be called. */
export const NAME_RULE = "a name is letters, digits and ._- and begins with a letter or digit";

const EXPECTED: Readonly<Record<string, string>> = {
  string: "a string",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a map of keys",
  record: "a map of keys",
};

/** What is wrong with a value as such, and not with how many or which entries it has. */
const SHAPES: ReadonlySet<string> = new Set(["invalid_type", "invalid_format", "invalid_union"]);

/**
 * For a schema's own `error`: `must be <expected>, not <what is there>`, and the hint. A key that is not there is
 * "missing", whatever was expected.
 */
export function expects(expected: string, hint?: (input: unknown) => string | undefined) {
  return (issue: Pick<Issue, "code" | "input">): string | undefined =>
    SHAPES.has(issue.code) ? mustBe(issue, expected, hint?.(issue.input)) : undefined;
}

function mustBe({ input }: Pick<Issue, "input">, expected: string, hint: string | undefined): string {
  return withHint(input === undefined ? "is missing" : `must be ${expected}, not ${show(input)}`, hint);
}

/** A message and its hint as one text, as schemas hand it to zod. */
export function withHint(message: string, hint: string | undefined): string {
  return hint === undefined ? message : `${message}\n${hint}`;
}

/** `must be one of a, b, not "c"`, with the nearest of them as the hint. */
function oneOf(values: readonly string[], input: unknown): string {
  const near = typeof input === "string" ? nearest(input, values) : undefined;
  const known = values.join(", ");
  const message = values.length === 1 ? `must be ${known}` : `must be one of ${known}`;
  if (input === undefined) return withHint("is missing", `write ${values.length === 1 ? "" : "one of "}${known}`);
  return withHint(`${message}, not ${show(input)}`, near && `did you mean ${near}?`);
}

/** Kinds are told apart by one key; other unions bring words of their own. */
function describeUnion(issue: Extract<Issue, { code: "invalid_union" }>): string {
  const kinds = kindsOf(issue);
  return kinds === undefined ? `cannot be ${show(issue.input)}` : oneOf(kinds, chosenKind(issue));
}

/** The kinds that a union knows, where it tells them apart by one key. */
export function kindsOf(issue: object): readonly string[] | undefined {
  if (!("discriminator" in issue) || !("options" in issue) || !Array.isArray(issue.options)) return undefined;
  return issue.options.map(String);
}

/** The kind that was asked for. */
function chosenKind(issue: object): unknown {
  const map = "input" in issue && typeof issue.input === "object" ? issue.input : null;
  const key = "discriminator" in issue ? String(issue.discriminator) : "";
  return map === null ? undefined : (map as Readonly<Record<string, unknown>>)[key];
}

function knownKeys(issue: Issue): readonly string[] {
  return issue.inst instanceof z.ZodObject ? Object.keys(issue.inst.shape) : [];
}

function exampleOf(issue: Issue): string | undefined {
  const schema = issue.schema ?? issue.inst;
  const examples = schema instanceof z.ZodType ? schema.meta()?.examples : undefined;
  return Array.isArray(examples) && examples.length > 0 ? `for example ${JSON.stringify(examples[0])}` : undefined;
}

/** For what was written in another shape: one entry instead of a list, a kind's name instead of its map. */
function shapeHint({ expected, input, inst }: Extract<Issue, { code: "invalid_type" }>): string | undefined {
  const isMap = typeof input === "object" && input !== null && !Array.isArray(input);
  if (expected === "string" && typeof input === "number" && !Number.isSafeInteger(input)) return "put it in quotes";
  if (expected === "array" && isMap) return 'begin each entry with "- "';
  const isKinds = inst instanceof z.ZodDiscriminatedUnion && typeof input === "string";
  if (!isKinds) return undefined;
  const kinds = [...(inst._zod.propValues?.[inst.def.discriminator] ?? [])].map(String);
  return kinds.includes(input) || kinds.length !== 1
    ? `write { ${inst.def.discriminator}: ${input} }`
    : `write { ${inst.def.discriminator}: ${kinds[0]}, … }`;
}

function unitOf(issue: { readonly origin: string }): string {
  return issue.origin === "string" ? "characters" : "entries";
}

/** A scalar as it might be written between quotes; "" for everything else. */
export function textOf(value: unknown): string {
  return typeof value === "string" || typeof value === "number" || typeof value === "boolean" ? String(value) : "";
}

/** The hint for a text that YAML took for a number or a truth. */
export function quoted(value: unknown): string | undefined {
  const text = textOf(value);
  return text === "" ? undefined : `write "${text}"`;
}

/** Nobody reads more of a hint. */
const LONGEST_LIST = 200;

/** Texts as YAML takes them for texts in a list of one line, `[/bin/notify, "5"]`; cut where it is long. */
export function listOf(texts: readonly string[]): string {
  const isPlain = /^(?!(?:true|false|null)$)[A-Za-z/](?:[\w./@-]|:(?=\S))*$/i;
  const list = `[${texts.map((text) => (isPlain.test(text) ? text : JSON.stringify(text))).join(", ")}]`;
  return list.length > LONGEST_LIST ? `${list.slice(0, LONGEST_LIST)}…` : list;
}

/** A value as a complaint names it: `the number 640`, `"web"`, `a list`. */
export function show(value: unknown): string {
  if (value === null || value === undefined || value === "") return "empty";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object") return "a map of keys";
  if (typeof value === "number") return `the number ${value}`;
  const text = JSON.stringify(value) ?? typeof value;
  return text.length > 80 ? `${text.slice(0, 77)}…"` : text;
}
