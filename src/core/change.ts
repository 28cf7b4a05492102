import { formatName, sameNames } from "../x509/name.ts";
import type { CertificateRequest } from "./ports.ts";

/** What a new request is compared with: the request that a generation answered, and the key that it has. */
export interface Answered {
  readonly request: CertificateRequest;
  readonly key: string;
}

/**
 * Why a request can no longer be served by what was issued, in words; undefined where it still can. Judged against the
 * recorded request, never against what the CA gave: step-ca answers 24 h with 24 h 1 m.
 */
export function changeOfRequest({ request: old, key }: Answered, wanted: CertificateRequest): string | undefined {
  if (old.issuer !== wanted.issuer) return `the spec's issuer changed from ${old.issuer} to ${wanted.issuer}`;
  if (old.subject !== wanted.subject) return `the spec's subject changed from ${old.subject} to ${wanted.subject}`;
  if (!sameNames(old.names, wanted.names)) {
    return `the spec's names changed from ${old.names.map(formatName).join(", ")} to ${wanted.names.map(formatName).join(", ")}`;
  }
  if (old.usages.join() !== wanted.usages.join()) return `the spec's usages changed to ${wanted.usages.join(", ")}`;
  if (old.lifetime !== wanted.lifetime) return "the spec's lifetime changed";
  // A spec that names no key keeps whatever is there, unless it named one before.
  const wantedKey = wanted.key ?? (old.key === null ? key : "ec-p256");
  return wantedKey === key ? undefined : `the spec's key changed from ${key} to ${wantedKey}`;
}
