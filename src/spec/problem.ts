/** A complaint about one file, in the words of `check --json`. */
export interface Problem {
  readonly file: string;
  /** Counted from 1; null where the file as a whole is meant (it is missing, say). */
  readonly line: number | null;
  readonly column: number | null;
  /** The key that is meant, `outputs[1].mode`; "" for the whole file. */
  readonly key: string;
  readonly message: string;
  /** What to write instead; null where there is nothing to suggest. */
  readonly hint: string | null;
}

/** A problem of a file as a whole. */
export function fileProblem(file: string, message: string, hint: string | null = null): Problem {
  return { file, line: null, column: null, key: "", message, hint };
}

/** One line for people and for the journal: `web.yaml:5:53: outputs[1].mode: mode must be …`, without the hint. */
export function formatProblem({ file, line, column, message }: Problem): string {
  return line === null ? `${file}: ${message}` : `${file}:${line}:${column}: ${message}`;
}

/**
 * Whether a path leads to where a secret might have been written by mistake: complaints go to the journal and to
 * everybody who asks for the status, so what stands there is not repeated.
 */
export function mayBeSecret(path: readonly PropertyKey[]): boolean {
  return path.some((part) => part === "password" || part === "token" || (part === "key" && path[0] === "issuers"));
}

/** A path into the data as people write it: `outputs[1].mode`. */
export function formatKey(path: readonly PropertyKey[]): string {
  return path
    .map((part, index) => (typeof part === "number" ? `[${part}]` : `${index === 0 ? "" : "."}${String(part)}`))
    .join("");
}
