/** What only the real step-ca can show: templates, policy, intermediates that change, alerts of Go's TLS, its log. */
import { access } from "node:fs/promises";
import { type AddressInfo, createServer, connect as dial, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { MINUTE, systemClock } from "../../../src/base/time.ts";
import type { Order } from "../../../src/core/ports.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { freePort } from "../../servers/daemon.ts";
import { makeAuthority, makePki } from "../../servers/pki.ts";
import { type StepCa, startStepCa } from "../../servers/step-ca.ts";
import { failure, issuerOf, never, orderFor, renewalOf, requestFor, secretFile } from "./desk.ts";

const nothing = { password: { file: "/nonexistent/password" } };
const SERVER_ONLY = `{"subject": {{ toJson .Subject }}, "sans": {{ toJson .SANs }}, "keyUsage": ["digitalSignature"], "extKeyUsage": ["serverAuth"]}`;

test("a leaf for servers only renews neither over mTLS nor by bearer, and is minted without asking for that", async () => {
  await using ca = await startStepCa({ policy: { template: SERVER_ONLY } });
  await using secret = await secretFile(ca.provisioner.jwk);
  const issuer = issuerOf(ca, { key: { file: secret.file } });
  const order = await orderFor("web.internal");
  const first = await issuer.issue(order, never);
  const asked = ca.requests().length;

  const { via, failedRungs } = await issuer.issue(renewalOf(order, first), never);

  expect(via).toBe("token");
  expect(failedRungs.map(({ message }) => message)).toEqual([
    "Cannot renew over mTLS: it is for servers only, and step-ca renews only what may be used by a client",
    "Cannot renew by bearer token: it is for servers only, and step-ca renews only what may be used by a client",
  ]);
  expect(ca.requests().slice(asked)).toEqual(["/sign"]);
});

test.each([
  [`{{ fail "not you" }}`, "ISSUER_REJECTED", `"The request could not be completed: not you."`],
  ["{ this is no JSON", "ISSUER_REJECTED", `HTTP 500, "error applying certificate template"`],
])("the template %j is refused as %s", async (template, code, words) => {
  await using ca = await startStepCa({ policy: { template } });
  await using secret = await secretFile(ca.provisioner.jwk);

  const error = await failure(issuerOf(ca, { key: { file: secret.file } }).issue(await orderFor("a.internal"), never));

  expect(error.code).toBe(code);
  expect(error.message).toContain(words);
});

test("a name that the CA's policy denies is named", async () => {
  await using ca = await startStepCa({ policy: { deniedNames: ["evil.internal"] } });
  await using secret = await secretFile(ca.provisioner.jwk);

  const error = await failure(
    issuerOf(ca, { key: { file: secret.file } }).issue(await orderFor("evil.internal"), never),
  );

  expect(error).toMatchObject({
    code: "ISSUER_REJECTED",
    hint: "the CA's policy or name constraints forbid a name of the spec",
  });
  expect(error.message).toContain(`dns name "evil.internal" not allowed`);
});

test("a CA whose name has capitals is asked for by them: it compares the audience of a token letter by letter", async () => {
  await using ca = await startStepCa({ policy: { dnsNames: ["LocalHost"] } });
  await using secret = await secretFile(ca.provisioner.password);
  const url = ca.url.replace("127.0.0.1", "LocalHost");

  const { via } = await issuerOf({ ...ca, url }, { password: { file: secret.file } }).issue(
    await orderFor("web.internal"),
    never,
  );

  expect(via).toBe("token");
});

describe("an intermediate that ends before its leaves", () => {
  let ca: StepCa;
  let order: Order;
  beforeAll(async () => {
    const pki = await makePki("Short");
    const notAfter = systemClock.now() + 2 * MINUTE;
    const intermediate = await makeAuthority({ name: "Short Intermediate", issuer: pki.root, pathLength: 0, notAfter });
    ca = await startStepCa({ pki: { ...pki, intermediate } });
    await using secret = await secretFile(ca.provisioner.jwk);
    const first = await orderFor("web.internal");
    order = renewalOf(first, await issuerOf(ca, { key: { file: secret.file } }).issue(first, never));
    // Another key for the same name: the leaf is of no intermediate that the CA still shows.
    const key = intermediate.key;
    const renewed = await makeAuthority({ name: "Short Intermediate", issuer: pki.root, pathLength: 0, key });
    await ca.change({}, renewed);
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  test("is exchanged for the one that the CA re-issued, in the handshake and in the answer", async () => {
    const { chain, via } = await issuerOf(ca, nothing).issue(order, never);

    expect(via).toBe("mtls");
    expect(chain[1]?.notAfter).toBeGreaterThan(chain[0].notAfter);
  });
});

test("a leaf of a CA that is no longer there is refused by alert 48, tried by bearer, and minted", async () => {
  const pki = await makePki("Old");
  await using ca = await startStepCa();
  await using secret = await secretFile(ca.provisioner.jwk);
  const pair = await pki.issue({ names: ["web.internal"] });
  const order = { request: requestFor(["web.internal"]), key: pair.key, current: pair };

  const { via, failedRungs } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);

  expect(via).toBe("token");
  expect(failedRungs.map(({ message }) => message)).toEqual([
    "Cannot renew over mTLS: the CA does not know its issuer (TLS alert 48)",
    `Cannot renew by bearer token at ${ca.url}: HTTP 401, "error validating renew token"`,
  ]);
});

test("of several addresses the one that refuses a renewal keeps no other from being asked for it", async () => {
  const pki = await makePki("Shared");
  await using stranger = await startStepCa();
  await using unwilling = await startStepCa({ pki, policy: { disableRenewal: true } });
  await using willing = await startStepCa({ pki });
  await using secret = await secretFile(willing.provisioner.jwk);
  await using anchors = await secretFile([stranger, willing].map(({ root }) => root.pem).join(""));
  const urls = [stranger, unwilling, willing].map(({ url }) => url);
  const order = await orderFor("web.internal");
  const first = await issuerOf(willing, { key: { file: secret.file } }).issue(order, never);
  const issuer = issuerOf({ ...willing, rootFile: anchors.file }, nothing, { url: undefined, urls });

  const { via, failedRungs } = await issuer.issue(renewalOf(order, first), never);

  expect({ via, failedRungs }).toEqual({ via: "mtls", failedRungs: [] });
  await expect.poll(() => unwilling.requests()).toEqual(["/renew"]);
});

test("a rekey that is refused goes to minting, before any renewal of the old key", async () => {
  await using ca = await startStepCa({ policy: { disableRenewal: true } });
  await using secret = await secretFile(ca.provisioner.jwk);
  const issuer = issuerOf(ca, { key: { file: secret.file } });
  const order = await orderFor("web.internal");
  const first = await issuer.issue(order, never);
  const asked = ca.requests().length;
  const key = await generateKey("ec-p256");

  const { chain, via } = await issuer.issue({ ...renewalOf(order, first), key }, never);

  expect(via).toBe("token");
  expect(chain[0].keyId).toBe(key.keyId);
  expect(ca.requests().slice(asked)).toEqual(["/rekey", "/sign"]);
});

test("a stopped process that still takes connections costs its deadline, and the next address is asked", async () => {
  await using frozen = await startStepCa();
  await using ca = await startStepCa();
  await using secret = await secretFile(await ca.token("web.internal"));
  process.kill(frozen.pid, "SIGSTOP");
  const more = { url: undefined, urls: [frozen.url, ca.url], timeout: "5s" };

  const { via } = await issuerOf(ca, { token: { file: secret.file, delete_after_use: true } }, more)
    .issue(await orderFor("web.internal"), never)
    .finally(() => process.kill(frozen.pid, "SIGCONT"));

  expect(via).toBe("token");
  await expect(access(secret.file)).rejects.toThrow("ENOENT");
});

test("twenty specs mint at once with one password that is opened once", async () => {
  await using ca = await startStepCa();
  await using secret = await secretFile(ca.provisioner.password);
  const issuer = issuerOf(ca, { password: { file: secret.file } });
  const orders = await Promise.all(Array.from({ length: 20 }, (_, number) => orderFor(`host-${number}.internal`)));

  const answers = await Promise.all(orders.map((order) => issuer.issue(order, never)));

  expect(answers.map(({ chain }) => chain[0].subject)).toEqual(orders.map(({ request }) => request.subject));
  expect(ca.requests().filter((path) => path === "/provisioners").length).toBe(1);
});

test("a provisioner whose template has data of many levels can be minted by", async () => {
  const templateData = { subject: { by: { site: { here: { organization: ["Example"] } } } } };
  await using ca = await startStepCa({ policy: { templateData } });
  await using secret = await secretFile(ca.provisioner.password);

  const { via } = await issuerOf(ca, { password: { file: secret.file } }).issue(await orderFor("web.internal"), never);

  expect(via).toBe("token");
});

describe("a proxy that is configured", () => {
  test("is tunnelled through, with TLS from end to end", async () => {
    await using ca = await startStepCa();
    await using proxy = await startProxy("HTTP/1.1 200 Connection established");
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf(ca, { key: { file: secret.file } }, { proxy: proxy.url });
    const order = await orderFor("web.internal");

    const { via } = await issuer.issue(renewalOf(order, await issuer.issue(order, never)), never);

    expect(via).toBe("mtls");
    expect(proxy.targets).toEqual([ca.url.slice("https://".length), ca.url.slice("https://".length)]);
  });

  test("is named where it refuses", async () => {
    await using ca = await startStepCa();
    await using proxy = await startProxy("HTTP/1.1 403 Forbidden");
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf(ca, { key: { file: secret.file } }, { proxy: proxy.url });

    const error = await failure(issuer.issue(await orderFor("web.internal"), never));

    expect(error.code).toBe("ISSUER_UNREACHABLE");
    expect(error.message).toBe(`Cannot reach ${ca.url}: the proxy ${proxy.url}: answers HTTP 403`);
  });
});

test("a proxy that is away is not taken for the CA", async () => {
  await using secret = await secretFile("password");
  const proxy = `http://127.0.0.1:${await freePort()}`;
  const ca = { url: "https://ca.internal:9000", rootFile: "/nonexistent", provisioner: { name: "x" } };
  const root = { fingerprint: "0".repeat(64) };
  const issuer = issuerOf(ca, { password: { file: secret.file } }, { proxy, root });

  const error = await failure(issuer.issue(await orderFor("web.internal"), never));

  expect(error.code).toBe("ISSUER_UNREACHABLE");
  expect(error.message).toContain(`Cannot reach https://ca.internal:9000: the proxy ${proxy}: connect ECONNREFUSED`);
});

test("a proxy that does not answer is not taken for the CA", async () => {
  await using secret = await secretFile("password");
  const silent = createServer();
  await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
  const proxy = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const ca = { url: "https://ca.internal:9000", rootFile: "/nonexistent", provisioner: { name: "x" } };
  const more = { proxy, root: { fingerprint: "0".repeat(64) }, timeout: "1s" };
  const issuer = issuerOf(ca, { password: { file: secret.file } }, more);

  const error = await failure(issuer.issue(await orderFor("web.internal"), never)).finally(() => silent.close());

  expect(error.message).toBe(
    `Cannot reach https://ca.internal:9000: the proxy ${proxy}: no answer within the deadline`,
  );
});

/** An HTTP proxy that knows CONNECT alone, and answers it with `status`. */
async function startProxy(
  status: string,
): Promise<AsyncDisposable & { readonly url: string; readonly targets: readonly string[] }> {
  const targets: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("data", (head: Buffer) => {
      const target = /^CONNECT (\S+) /.exec(head.toString())?.[1] ?? "";
      targets.push(target);
      socket.write(`${status}\r\n\r\n`);
      if (!status.includes(" 200 ")) return void socket.end();
      const [host = "", port = ""] = target.split(":");
      const upstream = dial({ host, port: Number(port) });
      sockets.add(upstream);
      upstream.on("error", () => socket.destroy());
      socket.pipe(upstream).pipe(socket);
    });
  });
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${port}`,
    targets,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
