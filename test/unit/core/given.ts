/** Builds what `plan` and `status` are asked with; each test changes what it is about. */
import { DAY, HOUR, type Instant } from "../../../src/base/time.ts";
import type { ApplyFacts, ServiceFacts } from "../../../src/core/applier.ts";
import { type Facts, NO_FACTS, type Proof, type Streak } from "../../../src/core/facts.ts";
import { chainToAdopt, type Fitting } from "../../../src/core/fit.ts";
import type { Observed, ObservedGeneration } from "../../../src/core/observed.ts";
import type { CertificateRequest, Desired, Service } from "../../../src/core/ports.ts";
import { fullchain } from "../../../src/formats/fullchain.ts";

export const NOT_BEFORE: Instant = Date.UTC(2026, 10, 20, 9);
export const LIFETIME = DAY;
/** An hour into a certificate of 24 hours. */
export const NOW: Instant = NOT_BEFORE + HOUR;

export const request: CertificateRequest = {
  issuer: "internal",
  subject: "web.internal",
  names: [{ type: "dns", value: "web.internal" }],
  usages: ["server", "client"],
  lifetime: null,
  key: null,
};

export const probe = {
  address: { host: "127.0.0.1", port: 443 },
  starttls: "tls",
  serverName: null,
  timeout: 1000,
} as const;

export function service(changes: Partial<Service> = {}): Service {
  return {
    type: "nginx",
    key: "nginx",
    steps: ["nginx -t", "systemctl reload nginx"],
    probe,
    timeout: 30_000,
    passive: false,
    window: null,
    preflight: () => Promise.resolve(),
    reload: () => Promise.resolve(undefined),
    liveness: () => Promise.resolve("up"),
    defaultProbe: () => Promise.resolve(undefined),
    ...changes,
  };
}

export function desired(changes: Partial<Desired> = {}): Desired {
  return {
    name: "web",
    file: "/etc/certagent.d/web.yaml",
    digest: "d1",
    request,
    rotate: false,
    renewBefore: null,
    layout: "files",
    outputs: [{ format: fullchain, path: "/etc/web.crt", owner: null, group: null, mode: 0o644, acl: [] }],
    services: [service()],
    hooks: { before: null, after: null, failed: null },
    ...changes,
  };
}

export function generation(changes: Partial<ObservedGeneration> = {}): ObservedGeneration {
  return {
    number: 3,
    request,
    fingerprint: "9f".repeat(32),
    serial: "2c",
    key: "ec-p256",
    notBefore: NOT_BEFORE,
    notAfter: NOT_BEFORE + LIFETIME,
    chainNotAfter: NOT_BEFORE + LIFETIME,
    issuedAt: NOT_BEFORE,
    ...changes,
  };
}

export function serviceFacts(changes: Partial<ServiceFacts> = {}): ServiceFacts {
  return {
    type: "nginx",
    liveness: "up",
    probe,
    reloaded: { generation: 3, at: NOT_BEFORE, failure: null },
    servedUntil: NOT_BEFORE + LIFETIME,
    ...changes,
  };
}

export function apply(changes: Partial<ApplyFacts> = {}): ApplyFacts {
  return {
    deployed: 3,
    outputs: [{ path: "/etc/web.crt", format: "fullchain", state: "current", because: null }],
    services: [serviceFacts()],
    adoptable: false,
    obstacle: null,
    ...changes,
  };
}

export function proof(changes: Partial<Proof> = {}): Proof {
  return {
    type: "nginx",
    fingerprint: "9f".repeat(32),
    generation: 3,
    at: NOW,
    address: "127.0.0.1:443",
    proven: true,
    code: changes.proven === false ? "SERVICE_STALE" : null,
    ...changes,
  };
}

export function facts(changes: Partial<Facts> = {}): Facts {
  return { ...NO_FACTS, digest: "d1", issuer: "internal", proofs: [proof()], writtenAt: NOT_BEFORE, ...changes };
}

export function streak(changes: Partial<Streak> = {}): Streak {
  return {
    code: "ISSUER_UNREACHABLE",
    message: "Cannot reach https://ca.internal:9000: connection refused",
    hint: null,
    retryAt: null,
    since: NOW,
    at: NOW,
    attempts: 1,
    tryAt: NOW + HOUR,
    ...changes,
  };
}

/** A certificate that is current in every respect. */
export function settled(changes: Partial<Observed> = {}): Observed {
  return {
    generation: generation(),
    deployed: generation(),
    refused: null,
    apply: apply(),
    facts: facts(),
    wish: null,
    obstacleSince: null,
    nextLook: NOW,
    clockSuspectFor: null,
    adoptionRefused: false,
    isIssuerBusy: false,
    credentialChanged: false,
    ...changes,
  };
}

/** Why a pair that was found on the host is not taken over, in words; null where it is. */
export function misfit(pair: Fitting): string | null {
  const found = chainToAdopt(pair);
  return "fact" in found ? found.fact : null;
}
