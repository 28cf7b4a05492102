/**
 * The one error class and the one table of codes. Every code has one retry class, so that the planner, the exit code
 * and the metric label derive from it. Anything else that is thrown is a bug and is wrapped once, as `BUG`.
 */

/** How a failure is tried again: `never` only means "until the operator changes something". */
export type RetryClass = "never" | "soon" | "when-told" | "slowly";

/** Code → how it is tried again. The keys are the promise to scripts: added to, never renamed. */
export const ERROR_CODES = {
  USAGE: "never",
  SPEC_INVALID: "never",
  ISSUER_UNREACHABLE: "soon",
  ISSUER_BUSY: "when-told",
  ISSUER_REJECTED: "slowly",
  CUT_OFF: "soon",
  CREDENTIAL_MISSING: "soon",
  CHAIN_UNUSABLE: "soon",
  KEY_UNUSABLE: "slowly",
  DEPLOY_FAILED: "soon",
  DRIFT_FIGHT: "slowly",
  HOOK_FAILED: "soon",
  RELOAD_FAILED: "soon",
  SERVICE_STALE: "soon",
  SERVICE_DOWN: "soon",
  SERVICE_UNSEEN: "soon",
  CLOCK_SUSPECT: "soon",
  STATE_UNUSABLE: "slowly",
  LOCKED: "never",
  AGENT_UNREACHABLE: "never",
  APPLY_UNREACHABLE: "soon",
  BUG: "slowly",
} as const satisfies Record<string, RetryClass>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** All of them, for schemas. */
export const CODES = Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]];

export interface AgentErrorOptions {
  /** What the operator can do about it; absent where there is nothing to do. */
  readonly hint?: string | undefined;
  /** When the other side asked to be tried again (Retry-After), epoch milliseconds. */
  readonly retryAt?: number | undefined;
  readonly cause?: unknown;
}

/**
 * A failure that certagent understands. `message` is "Cannot <action> <thing>: <fact>", without a full stop. It never
 * carries a secret.
 */
export class AgentError extends Error {
  override readonly name = "AgentError";
  readonly code: ErrorCode;
  readonly hint: string | undefined;
  readonly retryAt: number | undefined;

  constructor(code: ErrorCode, message: string, options: AgentErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.retryAt = options.retryAt;
  }
}

/** An error as plain data, for state files, reports between the two sides, and `--json`. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly hint: string | null;
  readonly retryAt: number | null;
}

/** Wraps whatever was thrown: an `AgentError` stays itself, everything else is a `BUG` with its cause kept. */
export function asAgentError(thrown: unknown): AgentError {
  if (thrown instanceof AgentError) return thrown;
  const text = thrown instanceof Error ? thrown.message : String(thrown);
  return new AgentError("BUG", `Unexpected failure: ${text}`, {
    cause: thrown,
    hint: "this is a defect of certagent; --log-level debug shows where",
  });
}

/** The plain-data form of whatever was thrown. */
export function failureOf(thrown: unknown): Failure {
  const { code, message, hint, retryAt } = asAgentError(thrown);
  return { code, message, hint: hint ?? null, retryAt: retryAt ?? null };
}

/** The error that a failure came from, without its cause and stack. */
export function errorOf(failure: Failure): AgentError {
  return new AgentError(failure.code, failure.message, {
    hint: failure.hint ?? undefined,
    retryAt: failure.retryAt ?? undefined,
  });
}
