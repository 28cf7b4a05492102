import type { KeyAlgorithm } from "../x509/key.ts";
import { formatName, sameNames } from "../x509/name.ts";
import type { CertificateRequest } from "./ports.ts";

/** The kind of a key where a spec names none. */
export const DEFAULT_KEY: KeyAlgorithm = "ec-p256";

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
  const wantedKey = keyAskedFor(old, wanted) ?? key;
  return wantedKey === key ? undefined : `the spec's key changed from ${key} to ${wantedKey}`;
}

/** The kind of key that is asked for; null where a spec that names none, and named none before, keeps what is there. */
export function keyAskedFor(
  old: Pick<CertificateRequest, "key"> | undefined,
  wanted: Pick<CertificateRequest, "key">,
): KeyAlgorithm | null {
  return wanted.key ?? (old === undefined || old.key === null ? null : DEFAULT_KEY);
}
