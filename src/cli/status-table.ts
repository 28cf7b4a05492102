import type { Instant } from "../base/time.ts";
import { needsAttention } from "../core/status.ts";
import type { CertificateStatus, State } from "../core/status-document.ts";
import type { Print, Text } from "./print.ts";
import { relative } from "./relative.ts";

const COLOUR: Readonly<Record<State, "green" | "yellow" | "red">> = {
  current: "green",
  renewing: "green",
  pending: "yellow",
  unproven: "yellow",
  paused: "yellow",
  failing: "red",
  expired: "red",
  invalid: "red",
};

const HEADINGS = ["NAME", "STATE", "PROVEN", "EXPIRES", "NEXT", "LAST FAILURE"];

/** One line a certificate, then a paragraph for each that needs attention. */
export function printStatus(print: Print, certificates: readonly CertificateStatus[], now: Instant): void {
  if (certificates.length === 0) {
    print.line("there are no specs");
    return;
  }
  const headings = HEADINGS.map((text) => ({ text, style: "bold" }) as const);
  print.table([headings, ...certificates.map((certificate) => row(certificate, now))]);
  for (const certificate of certificates.filter(needsAttention)) explain(print, certificate, now);
}

function row(certificate: CertificateStatus, now: Instant): readonly Text[] {
  const { name, state, leaf, next, failure } = certificate;
  return [
    name,
    { text: state, style: COLOUR[state] },
    provenOf(certificate),
    leaf === null ? "-" : relative(leaf.not_after, now),
    next === null ? "-" : `${next.action} ${relative(next.at, now)}`,
    failure === null ? "-" : `${failure.code} ${relative(failure.since, now)}`,
  ];
}

/** A certificate that no service was named for has nobody to prove it. */
function provenOf({ services }: CertificateStatus): Text {
  if (services.length === 0) return "-";
  return services.every(({ state }) => state === "proven") ? "yes" : { text: "no", style: "yellow" };
}

function explain(print: Print, { name, state, because, next, failure }: CertificateStatus, now: Instant): void {
  print.line();
  print.line({ text: name, style: "bold" }, " is ", { text: state, style: COLOUR[state] }, `: ${because}`);
  if (failure !== null) {
    const { code, message, hint, attempts, since } = failure;
    const tries = attempts === 1 ? "once" : `${attempts} times`;
    if (message !== because) print.line(`  ${message}`);
    for (const line of hint?.split("\n") ?? []) print.line(`  hint: ${line}`);
    print.line(`  ${code}, ${tries}, first ${relative(since, now)}`);
  }
  if (next !== null) print.line(`  next: ${next.action} ${relative(next.at, now)}, ${next.because}`);
}
