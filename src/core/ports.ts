/**
 * The words that the layers share: what is desired, what a generation is, and the ports. Ports exist only where there
 * are several implementations in production (the four families; the applier, in applier.ts) or where a test cannot have
 * the real thing (clock, processes, log).
 */
import type { Connect } from "../base/connect.ts";
import type { AgentError, Failure } from "../base/errors.ts";
import type { Run } from "../base/run.ts";
import type { Clock, Instant, Milliseconds } from "../base/time.ts";
import type { Certificate, Usage } from "../x509/certificate.ts";
import type { Chain } from "../x509/chain.ts";
import type { KeyAlgorithm, PrivateKey } from "../x509/key.ts";
import type { Name } from "../x509/name.ts";

/** What the four families may use of the world. */
export interface System {
  readonly clock: Clock;
  /** Runs a command of a spec or a recipe: where certagent itself is confined, outside of that, in a unit of its own. */
  readonly run: Run;
  /** Runs what certagent needs for itself, and what does no more than it may: `systemctl show`, `setfacl`. Always a child. */
  readonly ask: Run;
  /** Opens a connection to a service of this host, where certagent itself has no network too. */
  readonly connect: Connect;
}

// ---------------------------------------------------------------------------------------------------------- desired

/** What is asked of a CA. A generation keeps the request that it answered, and is judged against it for ever. */
export interface CertificateRequest {
  /** The issuer's name in the host configuration. */
  readonly issuer: string;
  readonly subject: string;
  /** Sorted by type and value, without doubles. */
  readonly names: readonly Name[];
  readonly usages: readonly Usage[];
  /** Null where the issuer decides. */
  readonly lifetime: Milliseconds | null;
  /** Null where the spec names none: then `ec-p256` is made, and any key that is there already is kept. */
  readonly key: KeyAlgorithm | null;
}

export interface AclEntry {
  readonly tag: "user" | "group";
  /** A name or a number. */
  readonly qualifier: string;
  /** A non-empty subset of `rw`, in that order. */
  readonly permissions: string;
}

/** A file that a spec asks for. */
export interface Output {
  readonly format: Format;
  readonly path: string;
  /** User and group by name or number; null is whoever certagent runs as. */
  readonly owner: string | null;
  readonly group: string | null;
  /** Permission bits, no more than 0o777. */
  readonly mode: number;
  readonly acl: readonly AclEntry[];
}

export interface Hooks {
  readonly before: readonly string[] | null;
  readonly after: readonly string[] | null;
  readonly failed: readonly string[] | null;
}

/** One spec, parsed, with every default filled in. */
export interface Desired {
  readonly name: string;
  /** The absolute path of the spec's file. */
  readonly file: string;
  /** SHA-256 of the text it was parsed from, lower-case hex: tells an edit from a re-read. */
  readonly digest: string;
  readonly request: CertificateRequest;
  /** A new key at each renewal. */
  readonly rotate: boolean;
  /** Renew with at least this much left, if that is earlier than the window's own end; null is the window alone. */
  readonly renewBefore: Milliseconds | null;
  readonly layout: "files" | "link";
  readonly outputs: readonly Output[];
  readonly services: readonly Service[];
  readonly hooks: Hooks;
}

// ------------------------------------------------------------------------------------------------------- generations

/** Key, leaf, chain and the issuer's roots, with the request they answered. Never rendered outputs. */
export interface Generation {
  /** Counts from 1; 0 is a pair that was found on the host when `layout: link` began. */
  readonly number: number;
  readonly request: CertificateRequest;
  readonly key: PrivateKey;
  /** Leaf first, then intermediates, no root. */
  readonly chain: Chain;
  /** The issuer's trust anchors when this was issued. */
  readonly roots: readonly Certificate[];
  readonly issuedAt: Instant;
  /** How it came to be: `token`, `mtls`, `bearer`, `rekey`, `adopted`. */
  readonly via: string;
}

// ------------------------------------------------------------------------------------------------------------ issuer

export interface Order {
  readonly request: CertificateRequest;
  /** The key to certify; durable on disk before it is handed over. */
  readonly key: PrivateKey;
  /**
   * The pair that this one replaces, where it may be renewed: it answers the same request. Absent for a first or a
   * changed request. Its key differs from `key` where the key is rotated, and is certified again where that cannot be.
   */
  readonly current?: { readonly key: PrivateKey; readonly chain: Chain } | undefined;
}

export interface Issued {
  /** Leaf first, as the CA answered, syntax checked, nothing else: `core/fit` judges it. */
  readonly chain: Chain;
  readonly roots: readonly Certificate[];
  readonly via: string;
  /** It is for the key of `current`, since a new one could not be certified. */
  readonly keepsKey?: boolean;
  /** The rungs of the ladder that were tried before and failed, oldest first, for the journal. */
  readonly failedRungs: readonly Failure[];
}

/** A configured CA. */
export interface Issuer {
  readonly name: string;
  readonly type: string;
  /** The trust anchors, read (or fetched by fingerprint and verified) at each call. Throws ISSUER_* or SPEC_INVALID. */
  roots(signal: AbortSignal): Promise<readonly Certificate[]>;
  /**
   * The same without the network, for who must not use it: the anchors that the configuration gives, else those of
   * `candidates`, whoever brought them, that it pins by their fingerprint; none where there are none such. Throws
   * SPEC_INVALID.
   */
  anchors(candidates: readonly Certificate[]): Promise<readonly Certificate[]>;
  /**
   * Turns an order into a chain, walking its ladder. A rung that failed with `CHAIN_UNUSABLE` stands for a certificate
   * that the CA issued for nothing; where several failed, they are the `errors` of the error's cause. Throws `ISSUER_UNREACHABLE`,
   * `ISSUER_BUSY` with `retryAt`, `ISSUER_REJECTED`, `CREDENTIAL_MISSING`, `CLOCK_SUSPECT`; the message names each rung
   * that failed, the hint gives the command for the operator.
   */
  issue(order: Order, signal: AbortSignal): Promise<Issued>;
  /** Whether there is anything that `noneWaits` would see to. */
  holdsSecret(): boolean;
  /** When what lies where the secret is looked for was put there or changed; null where nothing does. */
  secretSince(): Promise<Instant | null>;
  /**
   * Told after an attempt and now and then, where no spec waits to be minted: a secret that is held in memory is forgotten,
   * and one that was used and could not be deleted is tried to be deleted again.
   */
  noneWaits(): void;
  /**
   * Removes the secret's file, durably, where it is to be deleted after use and was there before `used` and before now.
   * Throws `DEPLOY_FAILED`, also where another user could have laid the way to its folder.
   */
  removeUsed(used: Instant): Promise<void>;
  /** The file that `removeUsed` removes; absent where there is none. */
  readonly removable?: string | undefined;
}

// ----------------------------------------------------------------------------------------------------------- formats

/** A way to write a generation into a file. Pure. */
export interface Format {
  readonly name: string;
  /** Whether the file holds the private key: decides its default mode and what modes are refused. */
  readonly holdsKey: boolean;
  /** Whether it holds the issuer's trust anchors: it is written anew when those change. */
  readonly holdsAnchors?: boolean;
  render(generation: Pick<Generation, "key" | "chain" | "roots">): Uint8Array;
  /** Whether bytes look like this format, whoever wrote them: what may be replaced. PEM of any kind for PEM formats. */
  recognizes(bytes: Uint8Array): boolean;
}

// ------------------------------------------------------------------------------------------------ services and probes

export type Address = { readonly host: string; readonly port: number } | { readonly path: string };

/** Where to look which leaf is served. */
export interface ProbeTarget {
  readonly address: Address;
  /** Where the same service, all of whose servers share the certificate, serves it as well. */
  readonly besides?: readonly Address[] | undefined;
  /** The probe's name: `tls`, or a STARTTLS flavour such as `postgres`. */
  readonly starttls: string;
  readonly serverName: string | null;
  readonly timeout: Milliseconds;
  /** Of a server with a certificate for each kind of key, the one of this kind; any where it is left out. */
  readonly keyKind?: KeyKind | undefined;
}

/** Keys that a client can ask for, by the signatures that it takes. */
export type KeyKind = "rsa" | "ec" | "ed25519";

/** Opens one fresh connection and returns the leaf that is served. Throws `SERVICE_DOWN` (nothing listens) or `SERVICE_STALE` (no TLS). */
export type Probe = (target: ProbeTarget, signal: AbortSignal) => Promise<Certificate>;

/** What was seen when a service was looked at for a leaf. */
export type Sighting =
  | { readonly served: true }
  | {
      readonly served: false;
      /** `SERVICE_DOWN` or `SERVICE_STALE`, with who answers otherwise, as the last look found it. */
      readonly failure: AgentError;
      /** The leaf that is served in place of the wanted one; undefined where none could be read. */
      readonly other: Certificate | undefined;
    };

export interface ProveOptions {
  /** How long the leaf may take to appear; one look is taken in any case. */
  readonly timeout: Milliseconds;
  /** The kind of key of the leaf, such as `rsa-2048`: a server may have another certificate for another kind. */
  readonly key?: string | undefined;
  /** Whether another leaf was seen the last time, after the service had taken this one: then more is asked. */
  readonly inDoubt?: boolean | undefined;
}

/**
 * Looks with fresh connections until the leaf of that fingerprint is served on several in a row, or time is up. Never
 * throws for what the service does.
 */
export type Prove = (
  target: ProbeTarget,
  fingerprint: string,
  options: ProveOptions,
  signal: AbortSignal,
) => Promise<Sighting>;

/** Whether a service runs. `absent`: the unit or program is not installed. `unknown`: nothing tells. */
export const LIVENESS = ["up", "down", "absent", "unknown"] as const;
export type Liveness = (typeof LIVENESS)[number];

export interface ReloadContext {
  readonly outputs: readonly Output[];
  readonly generation: Generation;
  /**
   * This reload follows a rollback, and the service was up before the change: where the failed reload brought its unit
   * down, the unit is started. A service that an operator stopped never is.
   */
  readonly revive?: boolean | undefined;
}

/** How one service takes a new pair. Made by its family from what the spec says; holds no state. */
export interface Service {
  readonly type: string;
  /** What people call it, where the type does not say it: its unit, or that it is one at all. */
  readonly called?: string | undefined;
  /** Services of one key are one: what several specs want of it at one time is run once. */
  readonly key: string;
  /** What preflight and reload will do, for `plan`: `nginx -t`, `systemctl reload nginx`. */
  readonly steps: readonly string[];
  /** The probe of the spec; `undefined` where it names none. */
  readonly probe: ProbeTarget | undefined;
  /** How long a reload may take, and how long the new leaf may take to be served. */
  readonly timeout: Milliseconds;
  /** How long after its reload has ended it may still read its files, or go down of it: a signal is heard after it is sent. */
  readonly settle?: Milliseconds | undefined;
  /** What of these outputs the service would never take (an owner, a mode), from the spec alone: costs no issuance. */
  obstacle?(outputs: readonly Output[]): AgentError | undefined;
  /**
   * What this host shows to be wrong with the unit that the spec names: that it cannot be reloaded (`RELOAD_FAILED`), or is
   * not there (`SERVICE_DOWN`; a package may bring it yet). Undefined where nothing is, or nothing tells.
   */
  unfit?(system: Pick<System, "ask">, signal: AbortSignal): Promise<AgentError | undefined>;
  /** Checks the service's whole configuration without changing it. Throws `RELOAD_FAILED` with the program's words. */
  preflight(system: System, signal: AbortSignal): Promise<void>;
  /** Makes the service take the files. Throws `RELOAD_FAILED`. A note that it returns is for the operator. */
  reload(system: System, context: ReloadContext, signal: AbortSignal): Promise<string | undefined>;
  /** By its unit, else `unknown`. */
  liveness(system: System, signal: AbortSignal): Promise<Liveness>;
  /**
   * The address that the service's own configuration names for these outputs; undefined where it is not known to serve
   * them, `SERVICE_UNSEEN` where nobody can look whether it does. Throws where it cannot be asked now.
   */
  defaultProbe(
    system: System,
    outputs: readonly Output[],
    signal: AbortSignal,
  ): Promise<ProbeTarget | AgentError | undefined>;
  /** Whether nothing needs to be run (`type: none`, or files read at every handshake). */
  readonly passive: boolean;
  /** When its action may run; null is always. */
  readonly window: MaintenanceWindow | null;
}

export interface MaintenanceWindow {
  /** Whether `now` lies in a window, and when the next one opens after `now`. Pure. */
  at(now: Instant): { readonly open: boolean; readonly nextOpensAt: Instant };
}
