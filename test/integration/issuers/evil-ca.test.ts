import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { DAY, HOUR, SECOND, systemClock } from "../../../src/base/time.ts";
import { judgeChain } from "../../../src/core/fit.ts";
import type { Issuer, Order } from "../../../src/core/ports.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import type { Faults } from "../../../src/devca/faults.ts";
import { startPlainServer } from "../../servers/tls.ts";
import { failure, issuerOf, never, orderFor, renewalOf, secretFile } from "./desk.ts";

let ca: DevCa;
let folder: AsyncDisposable & { readonly path: string };
let secret: AsyncDisposable & { readonly file: string };
let issuer: Issuer;
/** The same, which waits for no answer for longer than two seconds. */
let hasty: Issuer;
let renewal: Order;

beforeAll(async () => {
  ca = await startDevCa();
  folder = await mkdtempDisposable(join(tmpdir(), "certagent-evil-"));
  const rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, ca.root.pem);
  secret = await secretFile(ca.provisioner.jwk);
  const named = { ...ca, url: ca.url, rootFile };
  issuer = issuerOf(named, { key: { file: secret.file } });
  hasty = issuerOf(named, { key: { file: secret.file } }, { timeout: "2s" });
  const order = await orderFor("web.internal", "10.0.0.1");
  // The first request loads what the others use, which takes its time on a busy machine.
  renewal = renewalOf(order, await issuer.issue(order, never));
});
beforeEach(() => {
  ca.faults = {};
});
afterAll(async () => {
  await ca.stop();
  await folder[Symbol.asyncDispose]();
  await secret[Symbol.asyncDispose]();
});

/** What the agent does with an answer: have it issued, then judge it. */
async function issueAndJudge(order: Order, by = issuer): Promise<void> {
  const { chain, roots } = await by.issue(order, never);
  const { request, key, current } = order;
  judgeChain({ request, key, chain, roots, previous: current?.chain[0], now: systemClock.now() });
}

interface Row {
  readonly name: string;
  readonly faults: Faults;
  readonly code: string;
  readonly message: RegExp;
  /** How many requests one attempt may cost. */
  readonly requests: number;
}

const transport: readonly Row[] = [
  {
    name: "refuses connections",
    faults: { transport: "down" },
    code: "ISSUER_UNREACHABLE",
    message: /reset|closed/,
    requests: 0,
  },
  {
    name: "never answers",
    faults: { transport: "silent" },
    code: "ISSUER_UNREACHABLE",
    message: /no answer within the deadline/,
    requests: 1,
  },
  {
    name: "is slow",
    faults: { slow: 3 * SECOND },
    code: "ISSUER_UNREACHABLE",
    message: /no answer within the deadline/,
    requests: 1,
  },
  {
    name: "drops the connection in mid-answer",
    faults: { transport: "reset" },
    code: "CHAIN_UNUSABLE",
    message: /HTTP 201, but the connection was (closed|reset)/,
    requests: 1,
  },
  {
    name: "loses its answers",
    faults: { transport: "lost" },
    code: "ISSUER_UNREACHABLE",
    message: /connection was (closed|reset)/,
    requests: 2,
  },
  {
    name: "answers without an end",
    faults: { transport: "huge" },
    code: "CHAIN_UNUSABLE",
    message: /HTTP 201, but the answer is longer than 256 KiB/,
    requests: 1,
  },
  {
    name: "drips its answer",
    faults: { transport: "drip" },
    code: "CHAIN_UNUSABLE",
    message: /HTTP 201, but the answer did not end within the deadline/,
    requests: 1,
  },
  {
    name: "answers garbage",
    faults: { transport: "garbage" },
    code: "CHAIN_UNUSABLE",
    message: /the answer is no usable JSON/,
    requests: 1,
  },
  {
    name: "answers half",
    faults: { transport: "truncated" },
    code: "CHAIN_UNUSABLE",
    message: /the answer is no usable JSON/,
    requests: 1,
  },
];

const answers: readonly Row[] = [
  {
    name: "fails inside",
    faults: { answer: { status: 500 } },
    code: "ISSUER_UNREACHABLE",
    message: /HTTP 500, without a reason/,
    requests: 1,
  },
  {
    name: "is behind a broken proxy",
    faults: { answer: { status: 502, body: "<html>bad gateway" } },
    code: "ISSUER_UNREACHABLE",
    message: /HTTP 502, without a reason/,
    requests: 1,
  },
  {
    name: "redirects",
    faults: { answer: { status: 301, headers: { location: "https://evil.example/" } } },
    code: "ISSUER_REJECTED",
    message: /HTTP 301/,
    requests: 3,
  },
  {
    name: "is no CA",
    faults: { answer: { status: 404, body: "{}" } },
    code: "ISSUER_REJECTED",
    message: /HTTP 404/,
    requests: 3,
  },
  {
    name: "answers something else",
    faults: { answer: { status: 201, body: "[1]" } },
    code: "CHAIN_UNUSABLE",
    message: /the answer holds no chain/,
    requests: 1,
  },
  {
    name: "answers null",
    faults: { answer: { status: 201, body: "null" } },
    code: "CHAIN_UNUSABLE",
    message: /the answer holds no chain/,
    requests: 1,
  },
  {
    name: "answers an empty chain",
    faults: { answer: { status: 201, body: `{"certChain":[]}` } },
    code: "CHAIN_UNUSABLE",
    message: /there is none/,
    requests: 1,
  },
  {
    name: "names a key twice",
    faults: { answer: { status: 201, body: `{"crt":"","crt":""}` } },
    code: "CHAIN_UNUSABLE",
    message: /no usable JSON/,
    requests: 1,
  },
  {
    name: "means __proto__",
    faults: { answer: { status: 201, body: `{"__proto__":{"crt":"x"}}` } },
    code: "CHAIN_UNUSABLE",
    message: /no usable JSON/,
    requests: 1,
  },
  {
    name: "nests without an end",
    faults: { answer: { status: 201, body: "[".repeat(20_000) + "]".repeat(20_000) } },
    code: "CHAIN_UNUSABLE",
    message: /no usable JSON/,
    requests: 1,
  },
  {
    name: "sends ten thousand blocks",
    faults: {
      answer: {
        status: 201,
        body: JSON.stringify({ crt: "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n".repeat(2_000) }),
      },
    },
    code: "CHAIN_UNUSABLE",
    message: /^Cannot renew over mTLS at https:\S+: cannot read PEM: 108001 bytes are more than 65536$/,
    requests: 1,
  },
];

const leaves: readonly Row[] = [
  { name: "certifies another key", faults: { leaf: "wrong-key" }, code: "CHAIN_UNUSABLE", message: /key/, requests: 1 },
  {
    name: "leaves a name out",
    faults: { leaf: "missing-name" },
    code: "CHAIN_UNUSABLE",
    message: /web\.internal/,
    requests: 1,
  },
  {
    name: "adds a name",
    faults: { leaf: "added-name" },
    code: "CHAIN_UNUSABLE",
    message: /evil\.example/,
    requests: 1,
  },
  {
    name: "gives a leaf of tomorrow",
    faults: { leaf: "not-yet-valid" },
    code: "CHAIN_UNUSABLE",
    message: /not valid|begins|valid from/,
    requests: 1,
  },
  {
    name: "makes the leaf a CA",
    faults: { leaf: "authority" },
    code: "CHAIN_UNUSABLE",
    message: /authority|CA/,
    requests: 1,
  },
  {
    name: "certifies for another use",
    faults: { leaf: "wrong-usage" },
    code: "CHAIN_UNUSABLE",
    message: /usage|used|server/,
    requests: 1,
  },
  {
    name: "gives the same leaf again",
    faults: { leaf: "same-again" },
    code: "CHAIN_UNUSABLE",
    message: /Cannot use/,
    requests: 1,
  },
  {
    name: "gives the leaf alone",
    faults: { chain: "leaf-only" },
    code: "CHAIN_UNUSABLE",
    message: /alone|intermediate/,
    requests: 1,
  },
  {
    name: "gives an unrelated intermediate",
    faults: { chain: "unrelated" },
    code: "CHAIN_UNUSABLE",
    message: /Cannot use/,
    requests: 1,
  },
  {
    name: "sends a private key along",
    faults: { chain: "with-key" },
    code: "CHAIN_UNUSABLE",
    message: /PRIVATE KEY|holds/,
    requests: 1,
  },
];

describe.each([...transport, ...answers, ...leaves])("a CA that $name", ({ faults, code, message, requests }) => {
  test("is refused with its code, at no more requests than it takes", async () => {
    ca.faults = faults;
    const asked = ca.requests.length;

    const error = await failure(issueAndJudge(renewal, message.source.includes("deadline") ? hasty : issuer));

    expect(error.code).toBe(code);
    expect(error.message).toMatch(message);
    expect(error.message).not.toMatch(/PRIVATE KEY-----/);
    expect(error.hint).toMatch(/\w/);
    expect(ca.requests.length - asked).toBeLessThanOrEqual(requests);
  });
});

test("a renewal that comes back expired is minted, once, and that answer is judged", async () => {
  ca.faults = { leaf: "expired" };
  const asked = ca.requests.length;

  const error = await failure(issueAndJudge(renewal));

  expect(error.code).toBe("CHAIN_UNUSABLE");
  expect(ca.requests.slice(asked).map(({ path }) => path)).toEqual(["/renew", "/sign"]);
});

test("a page of HTML for all that is asked is a CA that is away where nothing can have been issued", async () => {
  ca.faults = { answer: { status: 200, headers: { "content-type": "text/html" }, body: "<html>maintenance" } };
  await using password = await secretFile("not looked at");
  const rootFile = join(folder.path, "root.crt");
  const minting = issuerOf({ ...ca, url: ca.url, rootFile }, { password: { file: password.file } });

  const error = await failure(minting.issue(await orderFor("web.internal"), never));

  expect(error.code).toBe("ISSUER_UNREACHABLE");
  expect(error.message).toMatch(/^Cannot read the provisioners at .*: the answer is no usable JSON$/);
});

test.each<[string, Faults]>([
  ["fails inside", { answer: { status: 500 } }],
  ["is behind a broken proxy", { answer: { status: 502 } }],
  ["is behind a proxy that is busy", { answer: { status: 503, headers: { "retry-after": "3600" } } }],
  ["asks to be left alone", { answer: { status: 429, headers: { "retry-after": "3600" }, body: "{}" } }],
  ["redirects to the other", { answer: { status: 301, headers: { location: "/" } } }],
  ["has a page for everything", { answer: { status: 200, body: "<html>" } }],
  ["never answers", { transport: "silent" }],
  ["loses its answers", { transport: "lost" }],
])("with several addresses the next attempt begins with another one where the first %s", async (_, faults) => {
  await using first = await startDevCa();
  first.faults = faults;
  const rootFile = join(folder.path, "both.crt");
  await writeFile(rootFile, [ca, first].map(({ root }) => root.pem).join(""));
  const urls = [first.url, ca.url];
  const issuer = issuerOf(
    { ...ca, url: ca.url, rootFile },
    { key: { file: secret.file } },
    { url: undefined, urls, timeout: "5s" },
  );
  const order = await orderFor("web.internal");

  const { code, retryAt } = await failure(issuer.issue(order, never));
  const asked = first.requests.length;
  const { chain } = await issuer.issue(order, never);

  expect(code).toMatch(/ISSUER_(?:UNREACHABLE|BUSY|REJECTED)|CHAIN_UNUSABLE/);
  expect(retryAt).toBeUndefined();
  expect(chain[0].subject).toBe("web.internal");
  expect(first.requests.length).toBe(asked);
});

test("with several addresses one that hangs is waited for once, not in each request and attempt", async () => {
  let connections = 0;
  await using hanging = await startPlainServer(() => (connections += 1));
  ca.faults = { answer: { status: 401, body: "{}" }, only: ["/renew"] };
  const urls = [`https://127.0.0.1:${hanging.port}`, ca.url];
  const named = { ...ca, url: ca.url, rootFile: join(folder.path, "root.crt") };
  const both = issuerOf(named, { key: { file: secret.file } }, { url: undefined, urls, timeout: "2s" });

  const minted = await both.issue(renewal, never);
  ca.faults = {};
  const renewed = await both.issue(renewalOf(renewal, minted), never);

  expect([minted.via, renewed.via]).toEqual(["token", "mtls"]);
  expect(connections).toBe(1);
});

test.each<[string, (stranger: readonly string[]) => unknown]>([
  ["certifies another key", (certChain) => ({ certChain })],
  ["gives no chain", () => ({ certChain: [] })],
])("with several addresses the one that %s is asked last when the same is asked for again", async (_, answerOf) => {
  await using first = await startDevCa();
  const stranger = renewal.current?.chain.map(({ pem }) => pem) ?? [];
  first.faults = { answer: { status: 201, body: JSON.stringify(answerOf(stranger)) } };
  const rootFile = join(folder.path, "lying.crt");
  await writeFile(rootFile, [ca, first].map(({ root }) => root.pem).join(""));
  const urls = [first.url, ca.url];
  const named = { ...ca, url: ca.url, rootFile };
  const both = issuerOf(named, { key: { file: secret.file } }, { url: undefined, urls });
  const order = await orderFor("web.internal");

  await both.issue(order, never).catch(() => {});
  const { chain } = await both.issue(order, never);

  expect(chain[0].keyId).toBe(order.key.keyId);
});

describe("with several addresses of which the first refuses what the second would do", () => {
  /** The first one with this fault, or one that knows neither our certificates nor our provisioner. */
  async function behind(faults: Faults, secretOf: Readonly<Record<string, unknown>>) {
    const first = await startDevCa();
    first.faults = faults;
    const rootFile = join(folder.path, "refusing.crt");
    await writeFile(rootFile, [ca, first].map(({ root }) => root.pem).join(""));
    const urls = [first.url, ca.url];
    return { first, issuer: issuerOf({ ...ca, url: ca.url, rootFile }, secretOf, { url: undefined, urls }) };
  }

  test.each<[string, Faults]>([
    ["is of another CA", {}],
    ["refuses all renewals", { answer: { status: 401, body: "{}" }, only: ["/renew"] }],
    ["forbids everything", { answer: { status: 403, body: `{"message":"Forbidden"}` } }],
    ["knows no such path", { answer: { status: 404, body: `{"message":"no Route matched"}` } }],
  ])("a certificate is renewed where the first %s", async (_, faults) => {
    const { first, issuer: both } = await behind(faults, { key: { file: "/nonexistent/key" } });
    await using _first = first;

    const { via } = await both.issue(renewal, never);

    // Over mTLS it closes without a word, of which nobody knows what it means.
    expect(via).toBe("bearer");
  });

  test.each(["key", "password"])(
    "a new certificate is minted by the %s of a provisioner that the first does not have",
    async (kind) => {
      await using password = await secretFile(ca.provisioner.password);
      const { first, issuer: both } = await behind(
        {},
        { [kind]: { file: kind === "key" ? secret.file : password.file } },
      );
      await using _first = first;
      first.removeProvisioner();

      const { via } = await both.issue(await orderFor("web.internal"), never);

      expect(via).toBe("token");
    },
  );

  test("a one-time token that was refused is sent to no other", async () => {
    await using token = await secretFile(await ca.token("web.internal"));
    const { first, issuer: both } = await behind({}, { token: { file: token.file } });
    await using _first = first;
    const asked = ca.requests.length;

    const { code } = await failure(both.issue(await orderFor("web.internal"), never));

    expect(code).toBe("ISSUER_REJECTED");
    expect(first.requests.map(({ path }) => path)).toEqual(["/sign"]);
    expect(ca.requests.length).toBe(asked);
  });

  test.each<[string, Faults]>([
    ["that has no backend", { answer: { status: 502, body: "Bad Gateway" } }],
    ["that is overloaded", { answer: { status: 503, body: "no server is available" } }],
    ["whose answers are lost", { transport: "lost" }],
  ])("the first mints what it does not renew beside a second one %s", async (_, faults) => {
    await using second = await startDevCa();
    second.faults = faults;
    ca.faults = { answer: { status: 401, body: "{}" }, only: ["/renew"] };
    const rootFile = join(folder.path, "beside.crt");
    await writeFile(rootFile, [ca, second].map(({ root }) => root.pem).join(""));
    const urls = [ca.url, second.url];
    const both = issuerOf({ ...ca, url: ca.url, rootFile }, { key: { file: secret.file } }, { url: undefined, urls });

    const { via } = await both.issue(renewal, never);

    expect(via).toBe("token");
  });

  test("the second mints what it does not renew beside a first one that is no CA", async () => {
    const { first, issuer: both } = await behind(
      { answer: { status: 404, body: "{}" } },
      { key: { file: secret.file } },
    );
    await using _first = first;
    ca.faults = { answer: { status: 401, body: "{}" }, only: ["/renew"] };

    const { via } = await both.issue(renewal, never);

    expect(via).toBe("token");
  });

  test("what the first has refused is told where no other answers", async () => {
    const refusing = { answer: { status: 401, body: "{}" } };
    await using first = await startDevCa();
    first.faults = refusing;
    const rootFile = join(folder.path, "alone.crt");
    await writeFile(rootFile, first.root.pem);
    const urls = [first.url, "https://127.0.0.1:1"];
    const named = { ...ca, url: first.url, rootFile };
    const both = issuerOf(named, { key: { file: secret.file } }, { url: undefined, urls });

    const { code, message } = await failure(both.issue(await orderFor("web.internal"), never));

    expect(code).toBe("ISSUER_REJECTED");
    expect(message).toContain(`at ${first.url}: HTTP 401`);
  });
});

test("a chain in the wrong order, or with the root, is put right", async () => {
  ca.faults = { chain: "shuffled" };
  await issueAndJudge(renewal);
  ca.faults = { chain: "with-root" };
  await issueAndJudge(renewal);
});

describe.each([429, 503])("a CA that answers %d", (status) => {
  test.each([
    ["120", 120 * SECOND],
    ["0", 0],
    ["-1", 0],
    ["1000000000", DAY],
    ["the date in an hour", HOUR],
    ["Thu, 01 Jan 1970 00:00:00 GMT", 0],
    ["99999999999999999999", DAY],
  ])("with Retry-After: %s is asked again then, within a day", async (retryAfter, wait) => {
    const before = systemClock.now();
    const header = retryAfter === "the date in an hour" ? new Date(before + HOUR).toUTCString() : retryAfter;
    ca.faults = { answer: { status, headers: { "retry-after": header } } };
    const asked = ca.requests.length;

    const error = await failure(issuer.issue(renewal, never));

    expect(error.code).toBe("ISSUER_BUSY");
    expect(error.retryAt).toBeGreaterThanOrEqual(before + wait - SECOND); // a date has whole seconds
    expect(error.retryAt).toBeLessThanOrEqual(systemClock.now() + wait);
    expect(ca.requests.length - asked).toBe(1);
  });

  test.each(["soon", "", "1e3", "0x10"])("with Retry-After: %j does not say when", async (retryAfter) => {
    ca.faults = { answer: { status, headers: { "retry-after": retryAfter } } };

    const error = await failure(issuer.issue(renewal, never));

    expect(error.code).toBe("ISSUER_BUSY");
    expect(error.retryAt).toBeUndefined();
  });
});

test("text of a CA can neither forge a line of the journal nor colour a terminal nor turn what follows it", async () => {
  const text = `x\n<3>FORGED \u001b[31mred \u202eleft \u0000 ${"long ".repeat(500)}`;
  ca.faults = { answer: { status: 403, body: JSON.stringify({ status: 403, message: text }) } };

  const error = await failure(issuer.issue({ ...renewal, current: undefined }, never));

  expect(error.message).toContain(String.raw`"x\n<3>FORGED \x1b[31mred \u{202e}left \x00 long long`);
  expect(error.message).not.toMatch(/[\p{Cc}\p{Cf}]/u);
  expect(error.message.length).toBeLessThan(700);
});

test("a root that does not have the fingerprint is not believed, and nothing else is asked", async () => {
  const other = await startDevCa();
  const body = JSON.stringify({ ca: other.root.pem });
  await other.stop();
  ca.faults = { answer: { status: 200, body } };
  const root = { fingerprint: ca.root.fingerprint };
  const bootstrapping = issuerOf({ ...ca, url: ca.url, rootFile: "" }, { key: { file: secret.file } }, { root });
  const asked = ca.requests.length;

  const error = await failure(bootstrapping.issue({ ...renewal, current: undefined }, never));

  expect(error.code).toBe("ISSUER_REJECTED");
  expect(error.message).toContain(`it gave one with ${other.root.fingerprint}`);
  expect(ca.requests.slice(asked).map(({ path }) => path)).toEqual([`/root/${ca.root.fingerprint}`]);
});

test("a liar at one address keeps no root of another one from being believed", async () => {
  await using liar = await startDevCa();
  liar.faults = { answer: { status: 200, body: JSON.stringify({ ca: liar.root.pem }) } };
  const bootstrapping = issuerOf(
    { ...ca, url: ca.url, rootFile: "" },
    { key: { file: secret.file } },
    { url: undefined, urls: [liar.url, ca.url], root: { fingerprint: ca.root.fingerprint } },
  );

  const { chain } = await bootstrapping.issue(await orderFor("web.internal"), never);

  expect(chain[0].subject).toBe("web.internal");
  expect(liar.requests.map(({ path }) => path)).toEqual([`/root/${ca.root.fingerprint}`]);
});

test.each<[Faults, RegExp]>([
  [{ answer: { status: 404 } }, /^is the fingerprint right\?/],
  [{ answer: { status: 301 } }, /^write the CA's own address/],
  [{ answer: { status: 418 } }, /^the CA's log has the reason/],
  [{ transport: "down" }, /curl -k https:\S+\/health$/],
])("where the root cannot be fetched for %j, the remedy is for that", async (faults, remedy) => {
  ca.faults = faults;
  const root = { fingerprint: ca.root.fingerprint };
  const bootstrapping = issuerOf({ ...ca, url: ca.url, rootFile: "" }, { key: { file: secret.file } }, { root });

  const { hint } = await failure(bootstrapping.issue({ ...renewal, current: undefined }, never));

  expect(hint).toMatch(remedy);
});
