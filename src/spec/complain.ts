import type { z } from "zod";
import { nearest } from "../base/nearest.ts";
import { describe, kindsOf, show } from "./describe.ts";
import { laterKind } from "./later.ts";
import { formatKey, mayBeSecret, type Problem } from "./problem.ts";
import type { Source } from "./source.ts";

type Path = readonly PropertyKey[];
type Issue = z.core.$ZodIssue;

/** A complaint about one key, before it is looked up where that stands. */
export interface Complaint {
  readonly path: Path;
  readonly message: string;
  readonly hint?: string | undefined;
  /** Whether the key itself is wrong, and not its value. */
  readonly aboutKey?: boolean | undefined;
  /** What cannot be judged because of this complaint: others at or below this path are left out. */
  readonly covers?: Path | undefined;
  /** Whether it is about how several keys go together. */
  readonly isJoint?: boolean | undefined;
  /** Nobody's slip: the contract has it, and this version does not yet. */
  readonly isLater?: boolean | undefined;
}

/** Keys that say where a secret is. */
const SECRETS: ReadonlySet<PropertyKey> = new Set(["password", "token", "key"]);

/** Nobody mends more in one go, and a hostile file could ask for thousands. */
const MOST_PROBLEMS = 30;

/** A schema's view of a source: its value, or what it complains about. Never throws. */
export function judge<Schema extends z.ZodType>(
  schema: Schema,
  data: unknown,
): { readonly value: z.output<Schema> } | { readonly complaints: readonly Complaint[] } {
  const result = schema.safeParse(data, { error: describe, reportInput: true });
  if (result.success) return { value: result.data };
  // zod measures a text, too, that should be a list.
  const { issues } = result.error;
  const mistyped = new Set(issues.flatMap(({ code, path }) => (code === "invalid_type" ? formatKey(path) : [])));
  const isFollowUp = ({ code, path }: Issue) => /^too_(small|big)$/.test(code) && mistyped.has(formatKey(path));
  return { complaints: issues.flatMap((issue) => (isFollowUp(issue) ? [] : complaintsOf(issue, data))) };
}

/** Complaints with their places, in the order of the file, without those that follow from others. */
export function problemsOf(source: Source, complaints: readonly Complaint[]): readonly Problem[] {
  const causes = complaints.filter(({ covers, aboutKey }) => covers !== undefined || aboutKey);
  const problems = complaints
    .filter((complaint) => !causes.some((cause) => explains(cause, complaint)))
    .map((complaint) => problemOf(source, complaint));
  // Unknown keys that are not repeated, as they may be secrets, have the same words.
  const distinct = [...new Map(problems.map((problem) => [JSON.stringify(problem), problem])).values()];
  const sorted = distinct.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0));
  const hidden = sorted.length - MOST_PROBLEMS;
  if (hidden <= 0) return sorted;
  const { line, column } = source.valueAt([]);
  const rest = { file: source.file, line, column, key: "", message: `and ${hidden} more problems`, hint: null };
  return [...sorted.slice(0, MOST_PROBLEMS), rest];
}

function problemOf(source: Source, { path, message, hint, aboutKey = false }: Complaint): Problem {
  const { line, column } = aboutKey ? source.keyAt(path) : source.valueAt(path);
  return { file: source.file, line, column, key: formatKey(path), message, hint: hint ?? null };
}

/** What stands beside an unknown key lacks what was meant by it. */
function explains(cause: Complaint, { path, covers, isJoint }: Complaint): boolean {
  if (cause.covers !== undefined && covers === undefined && startsWith(path, cause.covers)) return true;
  return isJoint === true && cause.aboutKey === true && path.length < cause.path.length && startsWith(cause.path, path);
}

function startsWith(path: Path, start: Path): boolean {
  return start.every((part, index) => part === path[index]);
}

function complaintsOf(issue: Issue, data: unknown): Complaint[] {
  if (issue.code === "unrecognized_keys") return issue.keys.map((key) => unknownKey(issue, key));
  const kinds = kindsOf(issue) ?? (issue.code === "invalid_value" ? issue.values.map(String) : undefined);
  const value = valueAt(data, issue.path);
  const later = laterKind(issue.path, value);
  if (later !== undefined) {
    const hint = kinds && `it has: ${kinds.join(", ")}`;
    return [{ path: issue.path, message: later, hint, covers: issue.path.slice(0, -1), isLater: true }];
  }
  const { message, hint } = inWords(issue.message, issue.path, value);
  // A file that is one text is no spec, and may be a password or a private key.
  if (
    (issue.path.length === 0 || mayBeSecret(issue.path)) &&
    (typeof value === "string" || typeof value === "number")
  ) {
    const isSecret = SECRETS.has(issue.path.at(-1) ?? "");
    const advice = isSecret ? "write { file: PATH }, and the secret into that file" : undefined;
    return [{ path: issue.path, message: message.replaceAll(show(value), "what stands there"), hint: advice }];
  }
  const about = { aboutKey: issue.code === "invalid_key", isJoint: issue.code === "custom" };
  return [{ path: issue.path, message, hint: hintOf(issue) ?? hint, ...about }];
}

function hintOf(issue: Issue): string | undefined {
  const hint: unknown = issue.code === "custom" ? issue.params?.["hint"] : undefined;
  return typeof hint === "string" ? hint : undefined;
}

function unknownKey(issue: Issue, key: string): Complaint {
  const path = [...issue.path, key];
  const later = laterKind(path, undefined);
  if (later !== undefined) return { path, message: later, aboutKey: true, covers: path, isLater: true };
  const known = issue.message.split("\n");
  const near = nearest(key, known);
  if (near === undefined && mayBeSecret(issue.path)) return { path: issue.path, message: "there is an unknown key" };
  const hint = near === undefined ? `known here: ${known.join(", ")}` : `did you mean ${near}?`;
  // What was meant is then missing too, and one complaint about it is enough.
  const isMissing = near !== undefined && valueAt(issue.input, [near]) === undefined;
  const covers = isMissing ? [...issue.path, near] : undefined;
  return { path, message: `unknown key ${key === "" ? '""' : show(key)}`, hint, aboutKey: true, covers };
}

function valueAt(data: unknown, path: Path): unknown {
  let value = data;
  for (const part of path) {
    if (typeof value !== "object" || value === null) return undefined;
    value = (value as Readonly<Record<PropertyKey, unknown>>)[part];
  }
  return value;
}

/**
 * Schemas say it in one of four ways, and people read one: a predicate (`must be …`) gets its key and what is there
 * instead, an advice (`write …`) becomes the hint, what follows a newline or `; ` is the hint, a sentence stays.
 */
function inWords(text: string, path: Path, input: unknown): { message: string; hint: string | undefined } {
  const name =
    formatKey(typeof path.at(-1) === "number" ? path.slice(-2) : path.slice(-1)) ||
    (path.length === 0 ? "the file" : '""');
  if (text.startsWith("write ")) {
    return { message: `${name} ${input === undefined ? "is missing" : `cannot be ${show(input)}`}`, hint: text };
  }
  const [, first = text, hint] = /^(.*?)(?:\n|; )(.*)$/s.exec(text) ?? [];
  if (!/^(must|needs|is|has|cannot|may|names|leaves) /.test(first)) return { message: first, hint };
  const isBare = first.startsWith("must be ") && !first.includes(", not ") && typeof input === "string";
  return { message: `${name} ${first}${isBare ? `, not ${show(input)}` : ""}`, hint };
}
