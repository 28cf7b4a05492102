/**
 * What the contract has and this version does not. It is consulted only for what a schema refused, so a kind that a
 * family learns needs nothing here; its word is then dead and a test says so.
 */
interface LaterKinds {
  /** The key that names the kind; `*` is any one key or index. */
  readonly at: readonly string[];
  /** The kinds that are to come; absent where the key itself is. */
  readonly kinds?: readonly string[];
  readonly what: string;
}

export const LATER: readonly LaterKinds[] = [
  { at: ["issuers", "*", "type"], kinds: ["acme"], what: "issuer of type" },
  { at: ["issuers", "*", "provisioner", "type"], kinds: ["x5c"], what: "provisioner of type" },
  { at: ["challenge"], what: "challenges (ACME)" },
  { at: ["outputs", "*", "format"], kinds: ["pkcs12", "crl"], what: "output of format" },
  {
    at: ["services", "*", "type"],
    kinds: ["haproxy", "postfix", "dovecot", "mariadb", "mysql", "apache"],
    what: "service of type",
  },
  { at: ["services", "*", "window"], what: "maintenance windows" },
];

/**
 * `this version has no service of type haproxy yet`, where the value at a path is of a kind that is to come; undefined
 * where it is not. What stands beside it cannot be judged by this version.
 */
export function laterKind(path: readonly PropertyKey[], value: unknown): string | undefined {
  for (const { at, kinds, what } of LATER) {
    if (at.length !== path.length || !at.every((part, index) => part === "*" || part === path[index])) continue;
    if (kinds === undefined) return `this version has no ${what} yet`;
    if (typeof value === "string" && kinds.includes(value)) return `this version has no ${what} ${value} yet`;
  }
  return undefined;
}
