/** Everything that may be wrong with a CA, and what certagent has to make of it. A new fault has to have its row here. */
import { SECOND } from "../../../src/base/time.ts";
import type { ChainFault, Faults, LeafFault, TransportFault } from "../../../src/devca/faults.ts";

export interface Evil {
  readonly name: string;
  readonly faults: Faults;
  /** What status tells of it; absent where the answer is as good as the right one. */
  readonly failure?: { readonly code: string; readonly message: RegExp };
  /** How many requests one attempt may cost. */
  readonly requests: number;
  /** Whether certificates are issued that are refused then, as many as the storm breaker lets through. */
  readonly issues?: boolean;
}

type Expected = Omit<Evil, "name" | "faults">;

const unreachable = (message: RegExp, requests = 1): Expected => ({
  failure: { code: "ISSUER_UNREACHABLE", message },
  requests,
});
/** An answer that is no chain, or that does not come whole, stands for a certificate, too. */
const refused = (message: RegExp, requests = 1): Expected => ({
  failure: { code: "CHAIN_UNUSABLE", message },
  requests,
  issues: true,
});
const accepted: Expected = { requests: 1 };

const transport: Readonly<Record<TransportFault, Expected>> = {
  down: unreachable(/reset|closed/),
  silent: unreachable(/no answer within the deadline/),
  reset: refused(/HTTP 201, but the connection was (?:closed|reset)/),
  // A server that does not like a client certificate ends the connection just so: it is asked without one, too.
  lost: unreachable(/closed|reset/, 3),
  huge: refused(/HTTP 201, but the answer is longer than 256 KiB/),
  // Each attempt lasts until the deadline: too few come together for the storm breaker to be seen at work each time.
  drip: { ...refused(/HTTP 201, but the answer did not end within the deadline/), issues: false },
  garbage: refused(/no usable JSON/),
  truncated: refused(/no usable JSON/),
};

const leaf: Readonly<Record<Exclude<LeafFault, object>, Expected>> = {
  "wrong-key": refused(/key/),
  "missing-name": refused(/lacks .*missing-name/),
  "added-name": refused(/evil\.example/),
  // What comes back expired of a renewal is minted instead, once.
  expired: refused(/expired|ended|ends/, 2),
  "not-yet-valid": refused(/valid|begins/),
  authority: refused(/authority|CA/),
  "wrong-usage": refused(/usage|used|server/),
  "same-again": refused(/same|progress|already|before/, 2),
};

const chain: Readonly<Record<ChainFault, Expected>> = {
  "leaf-only": refused(/alone|intermediate/),
  shuffled: accepted,
  unrelated: refused(/chain|root|issue/),
  "with-root": accepted,
  "with-key": refused(/PRIVATE KEY|holds/),
};

/** Answers that are no fault of the machinery: somebody wrote them. */
const answers: Readonly<Record<string, Expected & { readonly answer: NonNullable<Faults["answer"]> }>> = {
  // step-ca says 500 where it will not renew, too: so the other doors are tried.
  "fails-inside": { ...unreachable(/HTTP 500/, 3), answer: { status: 500 } },
  "broken-proxy": { ...unreachable(/HTTP 502/), answer: { status: 502, body: "<html>bad gateway" } },
  unauthorized: {
    failure: { code: "ISSUER_REJECTED", message: /HTTP 40[13]|refused/ },
    // Renewal over mTLS, by bearer, and the provisioner's list and a token.
    requests: 5,
    answer: { status: 401, body: `{"status":401,"message":"x\\n<3>FORGED \\u001b[31mred"}` },
  },
  busy: {
    failure: { code: "ISSUER_BUSY", message: /HTTP 429/ },
    requests: 1,
    answer: { status: 429, headers: { "retry-after": "1000000000" } },
  },
  "no-chain": { ...refused(/holds no chain/), answer: { status: 201, body: "[1]" } },
  prototype: { ...refused(/no usable JSON/), answer: { status: 201, body: `{"__proto__":{"crt":"x"}}` } },
  nested: { ...refused(/no usable JSON/), answer: { status: 201, body: "[".repeat(20_000) } },
  blocks: {
    // By bearer token where a busy machine let the leaf expire meanwhile.
    ...refused(/^Cannot renew [^"]* at https:\S+: cannot read PEM: 108001 bytes are more than 65536$/),
    answer: {
      status: 201,
      body: JSON.stringify({ crt: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(2_000) }),
    },
  },
};

export const EVIL: readonly Evil[] = [
  ...Object.entries(transport).map(([name, expected]) => {
    return { name, faults: { transport: name as TransportFault }, ...expected };
  }),
  ...Object.entries(leaf).map(([name, expected]) => ({ name, faults: { leaf: name as LeafFault }, ...expected })),
  ...Object.entries(chain).map(([name, expected]) => ({ name, faults: { chain: name as ChainFault }, ...expected })),
  ...Object.entries(answers).map(([name, { answer, ...expected }]) => ({ name, faults: { answer }, ...expected })),
  { name: "slow", faults: { slow: 6 * SECOND }, ...unreachable(/no answer within the deadline/) },
  { name: "short-lived", faults: { leaf: { lifetime: 8 * SECOND } }, requests: 1 },
];
