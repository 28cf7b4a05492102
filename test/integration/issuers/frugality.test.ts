import { execFile } from "node:child_process";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { createServer, request as httpsRequest } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { pause } from "../../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { startStepCa } from "../../servers/step-ca.ts";
import { failure, issuerOf, never, orderFor, renewalOf, secretFile } from "./desk.ts";

const run = promisify(execFile);

async function startCa(): Promise<DevCa & { readonly rootFile: string }> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-root-"));
  const ca = await startDevCa();
  const rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, ca.root.pem);
  const stop = async (): Promise<void> => {
    await ca.stop();
    await folder.remove();
  };
  return Object.assign(ca, { rootFile, [Symbol.asyncDispose]: stop });
}

test("a renewal over mTLS loads undici's client, and neither jose nor @peculiar/x509", async () => {
  await using ca = await startCa();
  await using secret = await secretFile(ca.provisioner.jwk);
  const order = await orderFor("web.internal");
  const { chain } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);
  const provisioner = { type: "jwk", name: "gone", password: { file: "/nonexistent" } };
  const config = { type: "step-ca", url: ca.url, root: { file: ca.rootFile }, provisioner };
  const task = JSON.stringify({ config, pem: chain.map(({ pem }) => pem).join(""), key: order.key.toPem() });

  const { stdout } = await run("node", [fileURLToPath(new URL("./renewing.fixture.ts", import.meta.url)), task]);

  expect(JSON.parse(stdout)).toEqual({ via: "mtls", loaded: ["undici/lib/dispatcher/client.js"] });
});

test("no connection outlives its request, however it ended", async () => {
  await using ca = await startCa();
  await using secret = await secretFile(ca.provisioner.password);
  const issuer = issuerOf(ca, { password: { file: secret.file } }, { timeout: "3s" });
  const order = await orderFor("web.internal");
  const renewal = renewalOf(order, await issuer.issue(order, never));

  const faults = ["reset", "lost", "garbage", "truncated", "huge", "silent", "drip"] as const;
  for (const transport of faults) {
    ca.faults = { transport };
    await failure(issuer.issue(renewal, never));
  }
  ca.faults = {};
  await issuer.issue(renewal, never);
  const open = (): readonly string[] =>
    process.getActiveResourcesInfo().filter((name) => /^T(?:CP|LS)(?:Socket)?Wrap$/.test(name));
  for (let tries = 0; open().length > 0 && tries < 100; tries++) await pause(20);

  expect(open()).toEqual([]);
});

test("an aborted attempt ends at once, with the reason that it was given", async () => {
  await using ca = await startCa();
  await using secret = await secretFile(ca.provisioner.jwk);
  const issuer = issuerOf(ca, { key: { file: secret.file } }, { timeout: "1m" });
  const abort = new AbortController();
  ca.faults = { transport: "silent" };
  const attempt = issuer.issue(await orderFor("web.internal"), abort.signal);
  while (ca.requests.length === 0) await pause(10);

  abort.abort(new Error("the agent is asked to stop"));

  await expect(attempt).rejects.toThrow("the agent is asked to stop");
});

test("every request says who asks, and has an id that the CA's log can be searched for", async () => {
  await using ca = await startCa();
  await using secret = await secretFile(ca.provisioner.password);
  await issuerOf(ca, { password: { file: secret.file } }).issue(await orderFor("web.internal"), never);

  expect(ca.requests.map(({ userAgent }) => userAgent)).toEqual(["certagent/test", "certagent/test"]);
  expect(new Set(ca.requests.map(({ id }) => id)).size).toBe(2);
});

test("proxies of the environment are not used", async () => {
  await using ca = await startCa();
  await using secret = await secretFile(ca.provisioner.jwk);
  process.env["https_proxy"] = process.env["HTTPS_PROXY"] = "http://127.0.0.1:1";
  const { via } = await issuerOf(ca, { key: { file: secret.file } })
    .issue(await orderFor("web.internal"), never)
    .finally(() => {
      delete process.env["https_proxy"];
      delete process.env["HTTPS_PROXY"];
    });

  expect(via).toBe("token");
});

test("behind a proxy that ends TLS, a pair is renewed by bearer token", async () => {
  await using ca = await startStepCa();
  await using secret = await secretFile(ca.provisioner.jwk);
  const order = await orderFor("web.internal");
  const first = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);
  const { key, pem } = await ca.pki.issue({ names: ["127.0.0.1"] });
  const proxy = createServer({ key: key.toPem(), cert: pem, requestCert: true, rejectUnauthorized: false });
  proxy.on("request", (incoming, outgoing) => {
    const { method, headers, url = "/" } = incoming;
    const options = { method, headers, ca: ca.root.pem, agent: false };
    const forwarded = httpsRequest(`${ca.url}${url}`, options, (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    incoming.pipe(forwarded);
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const { port } = proxy.address() as AddressInfo;
  const issuer = issuerOf({ ...ca, url: `https://127.0.0.1:${port}` }, { password: { file: "/nonexistent" } });

  const { via, failedRungs } = await issuer.issue(renewalOf(order, first), never).finally(() => proxy.close());

  expect(via).toBe("bearer");
  expect(failedRungs.map(({ hint }) => hint)).toEqual([
    "something between here and the CA ends TLS; certagent must reach step-ca itself",
  ]);
});
