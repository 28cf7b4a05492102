/** A fact that goes with a message; `undefined` is left out. */
export type Fields = Readonly<Record<string, string | number | boolean | null | undefined | readonly string[]>>;

/**
 * One event, one line. The message is static text, the facts are fields. A change of the host is `info`; a failure that
 * is tried again is `warning` and says when; a failure that needs an operator is `error`; `debug` is for us. Never a
 * key, a token or a CSR. Only `agent`, `apply` and `cli` log; everything below throws.
 */
export interface Log {
  debug(message: string, fields?: Fields): void;
  info(message: string, fields?: Fields): void;
  warning(message: string, fields?: Fields): void;
  error(message: string, fields?: Fields): void;
}
