import { AgentError, asAgentError, failureOf } from "../../base/errors.ts";
import type { Issuer, Order } from "../../core/ports.ts";
import type { Chain } from "../../x509/chain.ts";
import { createCsr } from "../../x509/csr.ts";
import type { IssuerContext } from "../kind.ts";
import { createAddresses } from "./addresses.ts";
import type { StepCaConfig } from "./config.ts";
import type { Minter } from "./mint.ts";
import { createKeyMinter } from "./mint-by-key.ts";
import { createTokenMinter } from "./mint-by-token.ts";
import { rekeyOverMtls, renewByBearer, renewOverMtls } from "./renew.ts";
import { anchorsAmong, createRoots } from "./roots.ts";
import { openSession, type Session } from "./session.ts";
import { removableFile, removeUsed, secretSince } from "./vault.ts";

/** An issuer that speaks to one step-ca (0.19 and later). Does no I/O by itself. */
export function createStepCa(name: string, config: StepCaConfig, context: IssuerContext): Issuer {
  const roots = createRoots(config, context);
  const createMinter = config.provisioner.secret.kind === "token" ? createTokenMinter : createKeyMinter;
  const minter = createMinter(config, context);
  const addresses = createAddresses(config.urls);
  const partner = { config, context, roots, addresses };
  const issued = createIssued();
  return {
    name,
    type: config.type,
    roots,
    anchors: (candidates) => anchorsAmong(config, candidates),
    issue: async (order, signal) => {
      const inVain = issued.take(order);
      if (inVain !== undefined) addresses.distrust(inVain);
      const session = openSession(partner, signal);
      try {
        const { chain, via, keepsKey, failures } = await climb(session, rungsFor(order, minter));
        return { chain, roots: await session.roots(), via, keepsKey, failedRungs: failures.map(failureOf) };
      } finally {
        issued.keep(order, session.issuedBy());
      }
    },
    holdsSecret: () => minter.isHolding(),
    secretSince: () => secretSince(config.provisioner.secret.source, context),
    noneWaits: () => minter.clear(),
    removeUsed: (used) => removeUsed(config.provisioner.secret.source, used, context.clock.now()),
    removable: removableFile(config.provisioner.secret.source),
  };
}

/** Which address has issued for an order: whoever comes with the same one again could make no use of that. */
interface IssuedFor {
  readonly take: (order: Order) => string | undefined;
  readonly keep: (order: Order, origin: string | undefined) => void;
}

const MOST_KEPT = 256;

function createIssued(): IssuedFor {
  const origins = new Map<string, string>();
  const idOf = ({ request, key, current }: Order): string =>
    [key.keyId, current?.chain[0].fingerprint, request.subject, ...request.names.map(({ value }) => value)].join(" ");
  return {
    take: (order) => {
      if (origins.size === 0) return undefined;
      const origin = origins.get(idOf(order));
      origins.delete(idOf(order));
      return origin;
    },
    keep: (order, origin) => {
      if (origin !== undefined) origins.set(idOf(order), origin);
      if (origins.size > MOST_KEPT) origins.delete(origins.keys().next().value ?? "");
    },
  };
}

/** One way to get the order issued. */
interface Rung {
  readonly via: string;
  /** Whether it renews the old key where a new one is asked for. */
  readonly keepsKey?: boolean;
  readonly climb: (session: Session, complain: (error: AgentError) => void) => Promise<Chain>;
}

/**
 * Best first. A changed request has no current pair and can only be minted: a renewal copies the old certificate. Where no
 * new key can be had (behind a proxy, or once the leaf has expired, there is no way to rekey), a certificate for the old
 * one is better than none.
 */
function rungsFor({ request, key, current }: Order, minter: Minter): readonly Rung[] {
  const mint: Rung = { via: "token", climb: (session, complain) => minter.mint(session, { request, key, complain }) };
  if (current === undefined) return [mint];
  const renew: readonly Rung[] = [
    { via: "mtls", climb: (session) => renewOverMtls(session, current) },
    { via: "bearer", climb: (session) => renewByBearer(session, current) },
  ];
  if (current.key.keyId === key.keyId) return [...renew, mint];
  const rekey = async (session: Session) => rekeyOverMtls(session, current, await createCsr(request, key));
  return [{ via: "rekey", climb: rekey }, mint, ...renew.map((rung) => ({ ...rung, keepsKey: true }))];
}

/**
 * What a lower rung may mend. A CA that is away or busy is not asked for more, and an answer that is no chain is not
 * bettered by a second issuance, but for a renewal that came back of no use: renewing keeps the length, minting does not.
 */
const GOES_ON: ReadonlySet<string> = new Set(["ISSUER_REJECTED", "CREDENTIAL_MISSING", "CLOCK_SUSPECT"]);

interface Climbed {
  readonly chain: Chain;
  readonly via: string;
  readonly keepsKey: boolean;
  readonly failures: readonly AgentError[];
}

async function climb(session: Session, rungs: readonly Rung[]): Promise<Climbed> {
  const failures: AgentError[] = [];
  for (const { via, keepsKey = false, climb } of rungs) {
    try {
      const chain = await climb(session, (failure) => failures.push(failure));
      return { chain, via, keepsKey, failures };
    } catch (thrown) {
      if (session.signal.aborted) throw thrown;
      const failure = asAgentError(thrown);
      failures.push(failure);
      if (!GOES_ON.has(failure.code) && !session.renewedInVain) break;
    }
  }
  throw summary(failures, session.stranger);
}

/**
 * A stranger in the CA's place is to be looked for, a secret that is missing to be put in place, else the last rung decides
 * what is to be done; but what is wrong is an answer of no use, where there was one. All are named.
 */
function summary(failures: readonly AgentError[], stranger: AgentError | undefined): AgentError {
  const missing = failures.find(({ code }) => code === "CREDENTIAL_MISSING");
  const last = stranger ?? missing ?? failures.at(-1) ?? asAgentError(new Error("a ladder without rungs"));
  if (failures.length === 1) return last;
  const [first, ...others] = new Set(failures.map(({ message }) => message));
  const message = [first, ...others.map((text) => text.replace(/^C/, "c"))].join("; ");
  const { code } = failures.find((failure) => failure.code === "CHAIN_UNUSABLE") ?? last;
  return new AgentError(code, message, { hint: last.hint, retryAt: last.retryAt, cause: new AggregateError(failures) });
}
