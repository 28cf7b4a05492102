import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  SubjectAlternativeNameExtension,
} from "@peculiar/x509";
import { HOUR, type Instant, type Milliseconds } from "../base/time.ts";
import type { Certificate } from "../x509/certificate.ts";
import { cryptoKeys } from "../x509/csr.ts";
import { generateKey } from "../x509/key.ts";
import type { Authority, Draft } from "./authority.ts";

/** What may be wrong with this CA; all of it can be switched while it runs. Nothing is set at the start. */
export interface Faults {
  /** How long every answer waits. */
  slow?: Milliseconds | undefined;
  transport?: TransportFault | undefined;
  /** An answer that takes the place of the right one, for the given paths or for all. */
  answer?:
    | { readonly status: number; readonly headers?: Readonly<Record<string, string>>; readonly body?: string }
    | undefined;
  /** Where `answer` and `transport` hold, as `/renew`; absent is everywhere. */
  only?: readonly string[] | undefined;
  leaf?: LeafFault | undefined;
  chain?: ChainFault | undefined;
}

/**
 * `down`: connections are closed at once · `silent`: taken, and never answered · `reset`: broken in the middle of the
 * answer · `lost`: broken after the request was carried out · `huge`: a body beyond reason · `drip`: a body that never
 * ends, a byte at a time · `garbage`: no JSON · `truncated`: half of the JSON.
 */
export type TransportFault = "down" | "silent" | "reset" | "lost" | "huge" | "drip" | "garbage" | "truncated";

export type LeafFault =
  | "wrong-key"
  | "missing-name"
  | "added-name"
  | "expired"
  | "not-yet-valid"
  | "authority"
  | "wrong-usage"
  | "same-again"
  | { readonly lifetime: Milliseconds };

export type ChainFault = "leaf-only" | "shuffled" | "unrelated" | "with-root" | "with-key";

/** The draft that a faulty CA would sign instead. */
export async function distort(draft: Draft, fault: LeafFault | undefined, now: Instant): Promise<Draft> {
  const { extensions } = draft;
  if (typeof fault === "object") return { ...draft, notBefore: now, notAfter: now + fault.lifetime };
  switch (fault) {
    case "wrong-key":
      return { ...draft, publicKey: cryptoKeys(await generateKey("ec-p256")).publicKey };
    case "missing-name":
      return { ...draft, extensions: extensions.map((found) => withNames(found, (names) => names.slice(1))) };
    case "added-name":
      return { ...draft, extensions: extensions.map((found) => withNames(found, (names) => [...names, EVIL])) };
    case "expired":
      return { ...draft, notBefore: now - 2 * HOUR, notAfter: now - HOUR };
    case "not-yet-valid":
      return { ...draft, notBefore: now + HOUR, notAfter: now + 2 * HOUR };
    case "authority":
      return { ...draft, extensions: [...extensions, new BasicConstraintsExtension(true, undefined, true)] };
    case "wrong-usage": {
      const codeSigning = new ExtendedKeyUsageExtension(["1.3.6.1.5.5.7.3.3"]);
      return {
        ...draft,
        extensions: extensions.map((found) => (found.type === codeSigning.type ? codeSigning : found)),
      };
    }
    default:
      return draft;
  }
}

const EVIL = { type: "dns", value: "evil.example" } as const;

type AlternativeNames = readonly { readonly type: "dns" | "email" | "ip" | "url"; readonly value: string }[];

function withNames(found: Extension, change: (names: AlternativeNames) => AlternativeNames): Extension {
  if (!(found instanceof SubjectAlternativeNameExtension)) return found;
  return new SubjectAlternativeNameExtension([...change(found.names.items as AlternativeNames)], found.critical);
}

/** The chain that a faulty CA would send instead, as PEM blocks. */
export function distortChain(
  leaf: Certificate,
  intermediate: Authority,
  root: Authority,
  stranger: Authority,
  fault: ChainFault | undefined,
): readonly string[] {
  switch (fault) {
    case "leaf-only":
      return [leaf.pem];
    case "shuffled":
      return [intermediate.certificate.pem, leaf.pem];
    case "unrelated":
      return [leaf.pem, stranger.certificate.pem];
    case "with-root":
      return [leaf.pem, intermediate.certificate.pem, root.certificate.pem];
    case "with-key":
      return [leaf.pem, intermediate.key.toPem()];
    default:
      return [leaf.pem, intermediate.certificate.pem];
  }
}
