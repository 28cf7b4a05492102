/**
 * Renews one pair in a process of its own: says which packages were loaded for it, and by what way it came. Its argument
 * is JSON: `{ config, pem, key, names }`.
 */
import { registerHooks } from "node:module";

const loaded = new Set<string>();
registerHooks({
  resolve: (specifier, context, next) => {
    if (/^(?:jose|undici|@peculiar|reflect-metadata)/.test(specifier)) loaded.add(specifier);
    return next(specifier, context);
  },
});

const { systemClock } = await import("../../../src/base/time.ts");
const { createIssuer, issuerSchema } = await import("../../../src/issuers/index.ts");
const { loadCertificates } = await import("../../../src/x509/certificate.ts");
const { parseKey } = await import("../../../src/x509/key.ts");

interface Task {
  readonly config: unknown;
  readonly pem: string;
  readonly key: string;
}
const task = JSON.parse(process.argv[2] ?? "{}") as Task;
const key = parseKey(task.key);
const chain = loadCertificates(task.pem);
const [{ subject, names }] = chain;
const request = {
  issuer: "internal",
  subject,
  names,
  usages: ["server", "client"],
  lifetime: null,
  key: null,
} as const;
const issuer = createIssuer("internal", issuerSchema.parse(task.config), {
  clock: systemClock,
  userAgent: "certagent/test",
});
const { via } = await issuer.issue({ request, key, current: { key, chain } }, new AbortController().signal);
console.log(JSON.stringify({ via, loaded: [...loaded] }));
