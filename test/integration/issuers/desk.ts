/** What a test of an issuer needs on its side: configuration, orders, and a clock that may be wrong. */
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../../src/base/errors.ts";
import { type Clock, type Milliseconds, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import type { CertificateRequest, Issued, Issuer, Order } from "../../../src/core/ports.ts";
import { createIssuer, issuerSchema } from "../../../src/issuers/index.ts";
import type { IssuerContext } from "../../../src/issuers/kind.ts";
import { type Certificate, loadCertificates } from "../../../src/x509/certificate.ts";
import { createCsr } from "../../../src/x509/csr.ts";
import { generateKey, type PrivateKey } from "../../../src/x509/key.ts";
import { parseName, sortNames } from "../../../src/x509/name.ts";

/** A CA as far as a configuration names it. */
export interface Named {
  readonly url: string;
  readonly rootFile: string;
  readonly provisioner: { readonly name: string };
}

export const never = new AbortController().signal;

/** An issuer of `ca` with a secret of one kind, as YAML would give it; `more` replaces keys of the configuration. */
export function issuerOf(
  ca: Named,
  secret: Readonly<Record<string, unknown>>,
  more: Readonly<Record<string, unknown>> = {},
  context: Partial<IssuerContext> = {},
): Issuer {
  const provisioner = { type: "jwk", name: ca.provisioner.name, ...secret };
  const usual = { type: "step-ca", url: ca.url, root: { file: ca.rootFile }, provisioner, timeout: "1m" };
  const config = issuerSchema.parse({ ...usual, ...more });
  return createIssuer("internal", config, { clock: systemClock, userAgent: "certagent/test", ...context });
}

/** A secret in a file of its own. */
export async function secretFile(text: string): Promise<AsyncDisposable & { readonly file: string }> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-secret-"));
  const file = join(folder.path, "secret");
  await writeFile(file, text, { mode: 0o600 });
  return { file, [Symbol.asyncDispose]: () => folder.remove() };
}

export function requestFor(names: readonly string[], lifetime: Milliseconds | null = null): CertificateRequest {
  const parsed = names.map((name) => parseName(name)).filter((name) => name !== undefined);
  const [subject = ""] = names;
  return { issuer: "internal", subject, names: sortNames(parsed), usages: ["server", "client"], lifetime, key: null };
}

/** An order for a first certificate, with a key of its own. */
export async function orderFor(...names: readonly string[]): Promise<Order> {
  return { request: requestFor(names), key: await generateKey("ec-p256") };
}

/** The order that renews what came of another one. */
export function renewalOf(order: Order, { chain }: Pick<Issued, "chain">): Order {
  return { ...order, current: { key: order.key, chain } };
}

/** What a promise was rejected with; an `AgentError`. */
export async function failure(attempt: Promise<unknown>): Promise<AgentError> {
  const thrown = await attempt.then(
    () => new Error("it succeeded"),
    (error: unknown) => error,
  );
  if (thrown instanceof AgentError) return thrown;
  throw thrown;
}

/** A clock that is wrong by `offset`. */
export function wrongClock(offset: Milliseconds): Clock {
  return { ...systemClock, now: () => systemClock.now() + offset };
}

/** Waits until `certificate` has expired for step-ca too, which counts in whole seconds. */
export async function expiry({ notAfter }: Certificate): Promise<void> {
  while (systemClock.now() < notAfter + SECOND) await pause(50);
}

/** A leaf with dates that no spec can ask for: `/sign`, straight. Dates as step-ca reads them. */
export async function signDated(
  ca: { readonly url: string; token(subject: string): Promise<string> },
  name: string,
  dates: { readonly notBefore: string; readonly notAfter: string },
): Promise<{ readonly key: PrivateKey; readonly chain: readonly [Certificate, ...Certificate[]] }> {
  const key = await generateKey("ec-p256");
  const csr = await createCsr(requestFor([name]), key);
  const answer = await post(`${ca.url}/sign`, JSON.stringify({ csr, ott: await ca.token(name), ...dates }));
  const { certChain } = JSON.parse(answer) as { readonly certChain?: readonly string[] };
  if (certChain === undefined) throw new Error(answer);
  return { key, chain: loadCertificates(certChain.join("\n")) };
}

function post(url: string, body: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const sent = request(url, { method: "POST", rejectUnauthorized: false, agent: false }, (response) => {
    let text = "";
    response.on("data", (chunk: Buffer) => (text += chunk.toString()));
    response.on("end", () => resolve(text));
  });
  sent.once("error", reject).end(body);
  return promise;
}
