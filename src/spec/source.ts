import type { Problem } from "./problem.ts";

/** The largest file that is read, in bytes. */
export const LARGEST_FILE = 65_536;

/** Where something stands in a file; both count from 1, columns in UTF-16 units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A YAML file as plain data that remembers where everything stood. */
export interface Source {
  readonly file: string;
  /** Maps (without a prototype), arrays, strings, numbers, booleans and nulls. */
  readonly data: unknown;
  /** Where the value at a path stands; for a path that is not there, the nearest value around it. */
  valueAt(path: readonly PropertyKey[]): Position;
  /** Where the key at a path stands. */
  keyAt(path: readonly PropertyKey[]): Position;
}

/** A parsed file, or why it could not be parsed. */
export type ParseResult = { readonly source: Source } | { readonly problems: readonly Problem[] };
