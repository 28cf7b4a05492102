import { type Clock, DAY, type Instant, MINUTE, type Milliseconds, SECOND } from "../base/time.ts";
import { type Authority, makeIntermediate, makeRoot } from "./authority.ts";
import type { Faults } from "./faults.ts";
import { makeProvisioner, type Provisioner } from "./provisioner.ts";
import { createUsedTokens, type UnverifiedToken } from "./tokens.ts";
import type { Limits } from "./validity.ts";

/** What this CA allows; all of it can be changed while it runs. */
export interface Policy extends Limits {
  readonly disableRenewal: boolean;
  readonly allowRenewalAfterExpiry: boolean;
  /** Serial numbers, lower-case hex: their renewal is refused. */
  readonly revoked: ReadonlySet<string>;
  /** How far this CA's clock is from the host's. */
  readonly clockOffset: Milliseconds;
}

/** What makes it the same CA after a restart; a secret. */
export interface Identity {
  readonly root: Authority;
  readonly intermediate: Authority;
  readonly provisioner: Provisioner;
}

/** Everything that requests are answered from. */
export interface CaState {
  readonly roots: readonly [Authority, ...Authority[]];
  readonly intermediate: Authority;
  /** Not of this CA, for chains that lead nowhere. */
  readonly stranger: Authority;
  /** Host names and addresses of its TLS certificate. */
  readonly names: readonly string[];
  readonly provisioner: Provisioner;
  /** What `/provisioners` and renewals know; emptied to remove the provisioner. */
  readonly provisioners: Map<string, Provisioner>;
  policy: Policy;
  faults: Faults;
  /** Tokens of before are void. */
  startedAt: Instant;
  readonly burn: (token: UnverifiedToken) => void;
  readonly now: () => Instant;
  /** The last answer to sign, renew or rekey, for the fault that gives it again. */
  lastIssued: string | undefined;
}

export interface CaOptions {
  readonly clock: Clock;
  readonly names: readonly string[];
  readonly identity: Identity;
  readonly policy: Partial<Policy>;
}

const POLICY: Policy = {
  lifetime: DAY,
  shortest: SECOND,
  longest: DAY,
  backdate: MINUTE,
  disableRenewal: false,
  allowRenewalAfterExpiry: false,
  revoked: new Set(),
  clockOffset: 0,
};

/** A CA of its own, with one provisioner. */
export async function makeIdentity(
  { name, password }: { readonly name: string; readonly password: string },
  now: Instant,
): Promise<Identity> {
  const root = await makeRoot("certagent development root", now);
  const intermediate = await makeIntermediate("certagent development intermediate", root, now);
  return { root, intermediate, provisioner: await makeProvisioner(name, password) };
}

export async function makeState({ clock, names, identity, policy }: CaOptions): Promise<CaState> {
  const { root, intermediate, provisioner } = identity;
  const state: CaState = {
    roots: [root],
    intermediate,
    stranger: await makeRoot("somebody else", clock.now()),
    names,
    provisioner,
    provisioners: new Map([[provisioner.name, provisioner]]),
    policy: { ...POLICY, ...policy },
    faults: {},
    startedAt: clock.now(),
    burn: createUsedTokens(),
    now: () => clock.now() + state.policy.clockOffset,
    lastIssued: undefined,
  };
  return state;
}
