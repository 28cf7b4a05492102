/** What the journal is told of a certificate: one event, one line, `certificate=` in each. */
import { formatDuration } from "../base/duration.ts";
import { type AgentError, ERROR_CODES, type Failure } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { shortened } from "../base/printable.ts";
import { formatInstant } from "../base/time.ts";
import type { ApplyReport } from "../core/applier.ts";
import type { Step, Streak } from "../core/facts.ts";
import type { Generation } from "../core/ports.ts";
import { displayName } from "../x509/certificate.ts";
import type { Chain } from "../x509/chain.ts";
import type { Verdict } from "./prove.ts";

const FAILED: Readonly<Record<Step, string>> = {
  issue: "cannot get a certificate",
  apply: "cannot deploy",
  prove: "not proven",
};

/** A failure that is tried again is a warning and says when; one that needs an operator is an error. */
export function logFailure(log: Log, certificate: string, step: Step, error: AgentError, streak: Streak | null): void {
  const { code, message, hint } = error;
  const tryAgain = streak === null ? undefined : formatInstant(streak.tryAt);
  const fields = { certificate, code, reason: message, hint, attempt: streak?.attempts, try_again: tryAgain };
  if (ERROR_CODES[code] === "slowly") log.error(FAILED[step], fields);
  else log.warning(FAILED[step], fields);
  if (code === "BUG") log.debug("stack of the failure", { certificate, stack: stackOf(error) });
}

/** A better way to a certificate failed, or a used secret could not be deleted; the certificate came all the same. */
export function logSetback(log: Log, certificate: string, { code, message, hint }: Failure): void {
  const fields = { certificate, code, reason: message, hint: hint ?? undefined };
  log.warning("something failed on the way to a certificate", fields);
}

function stackOf(error: AgentError): string | undefined {
  return error.cause instanceof Error ? error.cause.stack : error.stack;
}

/** A CA that takes off a little for its clock gives what was asked for. */
const MUCH_OF_IT = 0.9;
/** A CA may be called whatever it likes. */
const LONGEST_NAME = 128;

/** A certificate that was issued, and that it lives for less than was asked, or than it says, where that is so. */
export function logIssued(log: Log, certificate: string, generation: Generation, because: string): void {
  const [leaf] = generation.chain;
  log.info("issued", {
    certificate,
    because,
    via: generation.via,
    generation: generation.number,
    serial: leaf.serial,
    not_after: formatInstant(leaf.notAfter),
  });
  warnOfIssuer(log, certificate, generation.chain);
  const [asked, given] = [generation.request.lifetime, leaf.notAfter - leaf.notBefore];
  if (asked === null || given >= asked * MUCH_OF_IT) return;
  const lifetimes = { asked: formatDuration(asked), given: formatDuration(given) };
  const hint = "it is renewed by what it has; the CA's claims or template may say less than the spec";
  log.warning("the certificate lives shorter than was asked for", { certificate, ...lifetimes, hint });
}

/** step-ca goes on issuing for longer than its intermediate lives, and every host is without a certificate when that ends. */
function warnOfIssuer(log: Log, certificate: string, [leaf, ...issuers]: Chain): void {
  const [first] = issuers.toSorted((a, b) => a.notAfter - b.notAfter);
  if (first === undefined || first.notAfter >= leaf.notAfter) return;
  log.warning("what has issued the certificate ends before it", {
    certificate,
    issuer: shortened(displayName(first), LONGEST_NAME),
    ends: formatInstant(first.notAfter),
    hint: "the CA needs a new intermediate before that; each renewal until then ends with this one, so they come ever sooner",
  });
}

/** The agent's line of a deployment; what was done on the way is the root side's to tell. */
export function logDeployed(log: Log, certificate: string, report: ApplyReport): void {
  const services = report.services.map(({ type, outcome }) => `${type}: ${outcome}`);
  const fields = { certificate, generation: report.deployed, files: report.files, services };
  if (report.failure === null) log.info("deployed", fields);
  for (const { type, note } of report.services) {
    if (note !== null) log.warning("a service asks for attention", { certificate, service: type, note });
  }
}

/** A service that has come to be down beside one whose failure is told, and tried again, already. */
export function logUnproven(log: Log, certificate: string, { code, message, hint }: AgentError): void {
  log.warning(FAILED.prove, { certificate, code, reason: message, hint });
}

/** A service that was proven before and still is, is no news. */
export function logVerdict(
  log: Log,
  certificate: string,
  { proof, failure }: Pick<Verdict, "proof" | "failure">,
  wasProven: boolean,
): void {
  if (failure !== undefined) return;
  const { type, address, fingerprint } = proof;
  const fields = {
    certificate,
    service: type,
    address: address ?? undefined,
    fingerprint: fingerprint ?? undefined,
  };
  if (wasProven) log.debug("still proven", fields);
  else log.info("proven", fields);
}
