import { chmod, mkdir, readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openServiceWatch } from "../../../src/apply/services/watch.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { run } from "../../../src/base/run.ts";
import { HOUR, MINUTE, type Milliseconds, pause, SECOND } from "../../../src/base/time.ts";
import type { ProbeTarget, Service } from "../../../src/core/ports.ts";
import { probe, prove } from "../../../src/probes/index.ts";
import { findServer } from "../../../src/services/nginx-config.ts";
import type { Certificate } from "../../../src/x509/certificate.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { freePort, putPair } from "../../servers/daemon.ts";
import { type Nginx, startNginx } from "../../servers/nginx.ts";
import { makePki } from "../../servers/pki.ts";
import { generationOf, outputsAt, serviceOf, system } from "../../servers/service.ts";
import { startPlainServer } from "../../servers/tls.ts";
import { desiredIn } from "../apply/harness.ts";

const signal = new AbortController().signal;
const pki = await makePki();
const [first, second] = [await pki.issue(), await pki.issue()];
const torn = { pem: first.pem, key: second.key };

function serviceFor(nginx: Nginx, more: Readonly<Record<string, unknown>> = {}): Service {
  const connect = `127.0.0.1:${nginx.port}`;
  return serviceOf({ type: "nginx", preflight: nginx.check, reload: nginx.reload, probe: { connect }, ...more });
}

function targetOf(service: Service): ProbeTarget {
  if (service.probe === undefined) throw new Error("it has no probe");
  return service.probe;
}

function reload(service: Service, nginx: Nginx): Promise<string | undefined> {
  return service.reload(system, { outputs: outputsAt(nginx.files), generation: generationOf(pki, second) }, signal);
}

/** What nginx's log has said so far, of what it says only there. */
async function logged(nginx: Nginx, words: string): Promise<void> {
  while (!(await readFile(join(nginx.folder, "error.log"), "utf8")).includes(words)) await pause(20);
}

test("nginx takes a new pair, and the probe sees it", async () => {
  await using nginx = await startNginx(first);
  const service = serviceFor(nginx);

  await putPair(nginx.files, second);
  await service.preflight(system, signal);
  await reload(service, nginx);

  const proof = await prove(targetOf(service), second.leaf.fingerprint, { timeout: service.timeout }, signal);
  expect(proof).toEqual({ served: true });
});

test("nginx keeps the old pair where the new one does not fit, and says so before and at the reload", async () => {
  await using nginx = await startNginx(first);
  const service = serviceFor(nginx);

  await putPair(nginx.files, torn);

  await expect(service.preflight(system, signal)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringMatching(
      /^Cannot check the configuration of nginx: ".*-t" exited with 1: .*key values mismatch/,
    ),
  });
  await expect(reload(service, nginx)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringMatching(/^Cannot reload nginx: ".* -s reload" exited with 1: .*key values mismatch/),
  });
  expect((await probe(targetOf(service), signal)).fingerprint).toBe(first.leaf.fingerprint);
});

test("a mistake elsewhere in its configuration fails the check of nginx, with nginx's words", async () => {
  await using nginx = await startNginx(first);

  await nginx.configure("no_such_directive on;");

  await expect(serviceFor(nginx).preflight(system, signal)).rejects.toThrow('unknown directive "no_such_directive"');
});

test("a reload of nginx that ends well and is not taken shows in what is served", async () => {
  await using nginx = await startNginx(first);
  await using other = await startPlainServer(() => {});
  const service = serviceFor(nginx);

  await putPair(nginx.files, second);
  await nginx.configure(`listen 127.0.0.1:${other.port} ssl;`);
  await service.preflight(system, signal);
  await reload(service, nginx);
  await logged(nginx, "still could not bind()");

  expect(await prove(targetOf(service), second.leaf.fingerprint, { timeout: SECOND }, signal)).toMatchObject({
    served: false,
    failure: { code: "SERVICE_STALE" },
    other: { fingerprint: first.leaf.fingerprint },
  });
});

test("a reload that reaches another nginx shows in what is served", async () => {
  await using nginx = await startNginx(first);
  await using other = await startNginx(first);
  const service = serviceFor(nginx);

  await putPair(nginx.files, second);
  await writeFile(join(nginx.folder, "nginx.pid"), `${other.pid}\n`);
  await reload(service, nginx);

  const proof = await prove(targetOf(service), second.leaf.fingerprint, { timeout: SECOND }, signal);
  expect(proof).toMatchObject({ served: false });
});

test.for(["TLSv1.2", "TLSv1.3"])(
  "of an nginx with a certificate for each kind of key both are seen, and no third one, over %s",
  async (version) => {
    const key = await generateKey("rsa-2048");
    const [rsa, unserved] = [await pki.issue({ key }), await pki.issue({ key })];
    await using nginx = await startNginx(first);
    const files = { certificate: join(nginx.folder, "rsa.pem"), key: join(nginx.folder, "rsa.key") };
    await putPair(files, rsa);
    await nginx.configure(
      `ssl_protocols ${version}; ssl_certificate ${files.certificate}; ssl_certificate_key ${files.key};`,
    );
    const service = serviceFor(nginx);
    await reload(service, nginx);
    const look = (leaf: Certificate) =>
      prove(targetOf(service), leaf.fingerprint, { timeout: 5 * SECOND, key: leaf.key }, signal);

    expect(await look(first.leaf)).toEqual({ served: true });
    expect(await look(rsa.leaf)).toEqual({ served: true });
    expect(
      await prove(targetOf(service), unserved.leaf.fingerprint, { timeout: 0, key: "rsa-2048" }, signal),
    ).toMatchObject({ served: false });
  },
);

test.for(["TLSv1.2", "TLSv1.3"])(
  "the leaf of nginx is seen where it demands a client certificate under %s",
  async (version) => {
    await using nginx = await startNginx(first);
    await writeFile(join(nginx.folder, "ca.pem"), pki.roots.map(({ pem }) => pem).join(""));
    await nginx.configure(
      `ssl_protocols ${version}; ssl_verify_client on; ssl_client_certificate ${nginx.folder}/ca.pem; ssl_verify_depth 3;`,
    );
    const service = serviceFor(nginx);
    await putPair(nginx.files, second);
    await reload(service, nginx);

    const proof = await prove(targetOf(service), second.leaf.fingerprint, { timeout: MINUTE }, signal);

    expect(proof).toEqual({ served: true });
  },
);

test("of an nginx that answers nobody without a name it is told to write one", async () => {
  await using nginx = await startNginx(first, { extra: "ssl_reject_handshake on;" });

  await expect(probe(targetOf(serviceFor(nginx)), signal)).rejects.toMatchObject({
    message: expect.stringMatching(/: the TLS handshake failed: tlsv1 unrecognized name$/),
    hint: expect.stringContaining("write server_name:"),
  });
});

test("a reload of nginx that is down fails, and the probe says that nothing listens", async () => {
  await using nginx = await startNginx(first);
  const service = serviceFor(nginx);
  await nginx.stop();

  await expect(reload(service, nginx)).rejects.toMatchObject({ code: "RELOAD_FAILED" });
  await expect(probe(targetOf(service), signal)).rejects.toMatchObject({ code: "SERVICE_DOWN" });
});

test("a reload command that hangs is stopped with its group at the deadline", async () => {
  await using nginx = await startNginx(first);
  const service = serviceFor(nginx, { reload: ["/bin/sh", "-c", "echo still here; sleep 1000"], timeout: "1s" });

  await expect(reload(service, nginx)).rejects.toMatchObject({
    message: expect.stringContaining("had not ended after 1 s and was stopped: still here"),
    hint: "where it takes that long, write a longer timeout:",
  });
});

test("the default probe of nginx is found in what nginx -T prints", async () => {
  await using nginx = await startNginx(first, { serverName: "_ web.internal" });
  const paths = new Set([nginx.files.certificate]);

  const { output } = await run([...nginx.check, "-T"], { timeout: MINUTE });

  expect(findServer(output, paths)).toMatchObject({
    address: { host: "127.0.0.1", port: nginx.port },
    serverName: "web.internal",
    starttls: "tls",
  });
  expect(findServer(output, new Set(["/elsewhere.pem"]))).toBeUndefined();
});

test.each(["preflight", "reload"] as const)("of several nginx the one that %s calls is looked at", async (command) => {
  await using nginx = await startNginx(first);
  const service = serviceOf({ type: "nginx", [command]: command === "reload" ? nginx.reload : nginx.check });

  await service.preflight(system, signal);

  expect(await service.defaultProbe(system, outputsAt(nginx.files), signal)).toMatchObject({
    address: { host: "127.0.0.1", port: nginx.port },
  });
});

test("an nginx that has its certificate by a link is looked at where it serves that", async () => {
  await using nginx = await startNginx(first);
  const { certificate, key } = nginx.files;
  const moved = join(nginx.folder, "tls", "web.pem");
  await mkdir(join(nginx.folder, "tls"));
  await rename(certificate, moved);
  await symlink("tls/web.pem", certificate);
  const ask: typeof run = (_argv, options) => run([...nginx.check, "-T"], options);

  const outputs = outputsAt({ certificate: moved, key });

  expect(await serviceOf({ type: "nginx" }).defaultProbe({ ...system, run: ask }, outputs, signal)).toMatchObject({
    address: { host: "127.0.0.1", port: nginx.port },
  });
});

test("an nginx that picks its certificate at each handshake is looked at, also where its workers cannot read the key", async () => {
  await using nginx = await startNginx(first);
  const text = await readFile(nginx.config, "utf8");
  await writeFile(
    nginx.config,
    text.replace("web.pem", "$ssl_server_name.pem").replace("web.key", "$ssl_server_name.key"),
  );
  await chmod(nginx.folder, 0o755);
  await chmod(nginx.files.key, 0o644);
  await run(nginx.reload, { timeout: MINUTE });
  const service = serviceOf({ type: "nginx", preflight: nginx.check });
  const target = await service.defaultProbe(system, outputsAt(nginx.files), signal);
  if (target === undefined || target instanceof AgentError) throw new Error("it has no probe");
  const proven = () => prove(target, first.leaf.fingerprint, { timeout: 5 * SECOND }, signal);

  expect(await proven()).toEqual({ served: true });
  await chmod(nginx.files.key, 0);
  await service.preflight(system, signal);
  expect(await proven()).toMatchObject({ served: false, failure: { code: "SERVICE_STALE" } });
});

test("an nginx that listens behind proxies is looked at by their protocol, which leaves nothing in its log", async () => {
  const port = await freePort();
  await using nginx = await startNginx(first, { extra: `listen 127.0.0.1:${port} ssl proxy_protocol;` });
  const connect = `127.0.0.1:${port}`;

  const target = targetOf(serviceFor(nginx, { probe: { connect, starttls: "proxy" } }));

  expect((await probe(target, signal)).fingerprint).toBe(first.leaf.fingerprint);
  await expect(probe({ ...target, starttls: "tls" }, signal)).rejects.toMatchObject({ code: "SERVICE_STALE" });
  const lines = (await readFile(join(nginx.folder, "error.log"), "utf8")).trim().split("\n");
  expect(lines).toEqual([expect.stringContaining("broken header")]);
});

test("where nginx serves is asked again while it does not tell, and believed meanwhile", async () => {
  await using nginx = await startNginx(first);
  let later: Milliseconds = 0;
  const watch = openServiceWatch({
    ...system,
    clock: { ...system.clock, monotonic: () => system.clock.monotonic() + later },
    run: (_argv, options) => run([...nginx.check, "-T"], options),
  });
  const desired = desiredIn(nginx.folder, { outputs: outputsAt(nginx.files) });
  const look = () => watch.probe(desired, serviceOf({ type: "nginx" }), signal);
  const place = { probe: { address: { host: "127.0.0.1", port: nginx.port } } };

  await rm(nginx.files.certificate);
  expect(await look()).toEqual({ probe: null });
  await putPair(nginx.files, second);
  expect(await look()).toMatchObject(place);
  await nginx.configure("no_such_directive on;");
  later = HOUR;
  expect(await look()).toMatchObject(place);
});

test("an nginx that does not name the files of the spec is not proven by its reload, and one of another's command or unit is", async () => {
  await using nginx = await startNginx(first);
  const outputs = outputsAt({ certificate: "/etc/elsewhere.crt", key: "/etc/elsewhere.key" });
  const named = serviceOf({ type: "nginx", preflight: nginx.check });
  const contained = serviceOf({ type: "nginx", preflight: ["/bin/true"], reload: ["/bin/true"] });
  const ofUnit = serviceOf({ type: "nginx", unit: "web.service", preflight: ["/bin/true"], reload: ["/bin/true"] });
  const itself: typeof run = (_argv, options) => run([...nginx.check, "-T"], options);
  const podman = "ExecStart={ path=/usr/bin/podman ; argv[]=/usr/bin/podman run web ; ignore_errors=no ; pid=0 }\n";
  const ask = async () => ({ exitCode: 0, signal: null, timedOut: false, output: podman });

  expect(await named.defaultProbe(system, outputs, signal)).toMatchObject({ code: "SERVICE_UNSEEN" });
  expect(await contained.defaultProbe({ ...system, run: itself }, outputs, signal)).toBeUndefined();
  expect(await ofUnit.defaultProbe({ ...system, run: itself, ask }, outputs, signal)).toBeUndefined();
});
