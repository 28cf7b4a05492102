import { chown, mkdir, mkdtempDisposable, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DAY, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import type { ProbeTarget, Service, System } from "../../../src/core/ports.ts";
import { probe, prove } from "../../../src/probes/index.ts";
import { listens, type PairFiles, putPair } from "../../servers/daemon.ts";
import { type IssuedLeaf, makeAuthority, makePki } from "../../servers/pki.ts";
import { type Redis, startRedis } from "../../servers/redis.ts";
import { generationOf, outputsAt, serviceOf, system } from "../../servers/service.ts";
import { startTls } from "../../servers/tls.ts";

const signal = new AbortController().signal;
const SECRET = "correct-horse-battery";
const pki = await makePki();
const roots = pki.roots.map(({ pem }) => pem).join("");
const [first, second] = [await pki.issue(), await pki.issue()];

function targetOf({ port }: Redis): ProbeTarget {
  return { address: { host: "127.0.0.1", port }, starttls: "tls", serverName: null, timeout: 10 * SECOND };
}

function reload(service: Service, files: PairFiles, pair: IssuedLeaf = second): Promise<string | undefined> {
  return service.reload(system, { outputs: outputsAt(files), generation: generationOf(pki, pair) }, signal);
}

async function passwordFile(redis: Redis, text: string): Promise<{ file: string }> {
  const file = join(redis.folder, "password");
  await writeFile(file, text, { mode: 0o600 });
  return { file };
}

async function expectServed(redis: Redis, pair: IssuedLeaf): Promise<void> {
  expect(await prove(targetOf(redis), pair.leaf.fingerprint, { timeout: 10 * SECOND }, signal)).toEqual({
    served: true,
  });
}

test.for(["TLSv1.2", "TLSv1.3"])(
  "Redis takes a new pair over its socket, and shows it under %s to anyone",
  async (version) => {
    await using redis = await startRedis(first, { roots, extra: [`tls-protocols ${version}`] });
    const service = serviceOf({ type: "redis", socket: redis.socket });

    await putPair(redis.files, second);
    const note = await reload(service, redis.files);

    expect(note).toBeUndefined();
    await expectServed(redis, second);
  },
);

test("Redis takes a new pair over TLS with a password, shown the spec's own pair", async () => {
  await using redis = await startRedis(first, { roots, extra: [`requirepass ${SECRET}`] });
  const password = await passwordFile(redis, `${SECRET}\n`);
  const service = serviceOf({ type: "redis", connect: `127.0.0.1:${redis.port}`, tls: true, password });

  await putPair(redis.files, second);
  await reload(service, redis.files);

  await expectServed(redis, second);
  expect(await service.defaultProbe(system, outputsAt(redis.files), signal)).toMatchObject({
    address: targetOf(redis).address,
  });
});

test("Redis takes a new pair from an ACL user of its own", async () => {
  const extra = [`user certagent on >${SECRET} -@all +config|set +config|get +config|rewrite`, "requirepass other"];
  await using redis = await startRedis(first, { roots, extra });
  const password = await passwordFile(redis, SECRET);
  const service = serviceOf({ type: "redis", socket: redis.socket, username: "certagent", password });

  await putPair(redis.files, second);
  await reload(service, redis.files);

  await expectServed(redis, second);
});

test("Redis keeps the old pair where the new one does not fit, and says so", async () => {
  await using redis = await startRedis(first, { roots });
  const service = serviceOf({ type: "redis", socket: redis.socket });

  await putPair(redis.files, { pem: second.pem, key: first.key });

  await expect(reload(service, redis.files)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringMatching(/^Cannot have Redis take the new pair: ERR .*TLS/),
  });
  await expectServed(redis, first);
});

test("new paths outlive a restart of Redis", async () => {
  await using redis = await startRedis(first, { roots });
  const service = serviceOf({ type: "redis", socket: redis.socket });
  const files = { certificate: join(redis.folder, "new.crt"), key: join(redis.folder, "new.key") };

  await putPair(files, second);
  const note = await reload(service, files);
  await expectServed(redis, second);
  await redis.restart();

  expect(note).toBe(
    `Redis wrote "tls-cert-file ${files.certificate}" and "tls-key-file ${files.key}" into its configuration file`,
  );
  await expectServed(redis, second);
});

test("new paths that Redis cannot write down are told, with the lines for redis.conf", async () => {
  await using redis = await startRedis(first, { roots, withoutFile: true });
  const service = serviceOf({ type: "redis", socket: redis.socket });
  const files = { certificate: join(redis.folder, "new.crt"), key: join(redis.folder, "new.key") };

  await putPair(files, second);
  const note = await reload(service, files);

  await expectServed(redis, second);
  expect(note).toContain("Redis will have forgotten the new paths after a restart (CONFIG REWRITE: ERR ");
  expect(note).toContain(`"tls-cert-file ${files.certificate}" and "tls-key-file ${files.key}"`);
});

test("a wrong password, none, and too few rights are told apart, and no password is told", async () => {
  const extra = [`requirepass ${SECRET}`, `user weak on >${SECRET} -@all +ping`];
  await using redis = await startRedis(first, { roots, extra });
  const { socket, files } = redis;
  const right = await passwordFile(redis, SECRET);
  const file = join(redis.folder, "wrong");
  await writeFile(file, `wrong-${SECRET}`);
  const attempt = (more: object): Promise<unknown> =>
    reload(serviceOf({ type: "redis", socket, ...more }), files).catch((error: unknown) => error);

  const failures = [
    await attempt({ password: { file } }),
    await attempt({}),
    await attempt({ username: "weak", password: right }),
    await attempt({ password: { file: "/nowhere/password" } }),
  ];

  expect(failures).toMatchObject([
    {
      message: expect.stringMatching(/^Cannot log in to Redis at .*: WRONGPASS/),
      hint: expect.stringContaining("does the file hold the password"),
    },
    { message: expect.stringContaining("NOAUTH"), hint: expect.stringContaining("write password:") },
    { message: expect.stringContaining("NOPERM"), hint: expect.stringContaining("+config|set") },
    { message: expect.stringContaining('Cannot read "/nowhere/password"') },
  ]);
  expect(failures.map((error) => (error as { code: string }).code)).toEqual(Array(4).fill("RELOAD_FAILED"));
  expect(failures.map((error) => JSON.stringify(error) + (error as Error).stack).join()).not.toContain(SECRET);
});

test("a password where Redis has none is told of with what to write instead", async () => {
  await using redis = await startRedis(first, { roots });
  const password = await passwordFile(redis, SECRET);

  const failure = reload(serviceOf({ type: "redis", socket: redis.socket, password }), redis.files);

  await expect(failure).rejects.toMatchObject({ hint: expect.stringContaining("leave password: out") });
});

test("a Redis that ends the connection is told of in one line, with why it may do so", async () => {
  await using redis = await startRedis(first, { roots: (await makePki("Other")).roots.map(({ pem }) => pem).join("") });
  const connect = `127.0.0.1:${redis.port}`;
  const attempt = (more: object): Promise<unknown> =>
    reload(serviceOf({ type: "redis", ...more }), redis.files).catch((error: unknown) => error);

  expect([await attempt({ connect, tls: true }), await attempt({ connect })]).toMatchObject([
    { message: expect.stringMatching(/: tlsv1 alert unknown ca$/), hint: expect.stringContaining("tls-ca-cert-file") },
    { code: "RELOAD_FAILED", hint: expect.stringContaining("tls: true is missing") },
  ]);
});

test("a Redis whose CONFIG was renamed is told of with what to write instead", async () => {
  await using redis = await startRedis(first, { roots, extra: ['rename-command CONFIG ""'] });

  const failure = reload(serviceOf({ type: "redis", socket: redis.socket }), redis.files);

  await expect(failure).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringMatching(/: ERR unknown command 'CONFIG'.*\S$/),
    hint: expect.stringMatching(/Sentinel.*give reload:/),
  });
});

test("no password is sent to a server that this issuer did not certify, or not for these names", async () => {
  const stranger = await (await makePki("Other")).issue();
  const neighbour = await pki.issue({ names: ["neighbour.internal"] });
  const mole = await pki.issue({ keyUsages: null });
  const forged = await pki.issue({ issuer: { certificate: mole.leaf, key: mole.key } });
  for (const [pair, words] of [
    [forged, "does not lead to this issuer's roots"],
    [stranger, "does not lead to this issuer's roots"],
    [neighbour, "has none of this spec's names"],
  ] as const) {
    await using redis = await startRedis(pair, { roots, extra: [`requirepass ${SECRET}`] });
    const password = await passwordFile(redis, SECRET);
    const service = serviceOf({ type: "redis", connect: `127.0.0.1:${redis.port}`, tls: true, password });

    await expect(reload(service, redis.files)).rejects.toMatchObject({
      message: expect.stringContaining(words),
      hint: expect.stringContaining("give socket:"),
    });
  }
});

test("a Redis whose user may set and not read its configuration does not tell where it serves", async () => {
  const extra = [`requirepass ${SECRET}`, `user certagent on >${SECRET} -@all +config|set`];
  await using redis = await startRedis(first, { roots, extra });
  const password = await passwordFile(redis, SECRET);
  const service = serviceOf({ type: "redis", socket: redis.socket, username: "certagent", password });

  expect(await service.defaultProbe(system, outputsAt(redis.files), signal)).toMatchObject({
    code: "SERVICE_UNSEEN",
    message: expect.stringContaining("NOPERM"),
    hint: expect.stringContaining("probe:"),
  });
});

test("a certificate that is for servers alone is told as the one that Redis does not take from a client", async () => {
  await using redis = await startRedis(first, { roots });
  const service = serviceOf({ type: "redis", connect: `127.0.0.1:${redis.port}`, tls: true });

  const refused = reload(service, redis.files, await pki.issue({ usages: ["server"] }));

  await expect(refused).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    hint: expect.stringContaining("add client to the spec's usages:"),
  });
});

test("Redis's user has no secret of another's sent to it by a link in a folder of its own", async () => {
  const other = "not-for-redis";
  await using redis = await startRedis(first, { roots, extra: [`requirepass ${other}`] });
  await using secrets = await mkdtempDisposable(join(tmpdir(), "certagent-secrets-"));
  await writeFile(join(secrets.path, "password"), other, { mode: 0o600 });
  await mkdir(join(redis.folder, "own"));
  await chown(join(redis.folder, "own"), 65534, 65534);
  await symlink(secrets.path, join(redis.folder, "own", "certagent"));
  const password = { file: join(redis.folder, "own", "certagent", "password") };
  const service = serviceOf({ type: "redis", socket: redis.socket, password });

  await putPair(redis.files, second);

  await expect(reload(service, redis.files)).rejects.toThrow("own");
  await chown(join(redis.folder, "own"), 0, 0);
  await reload(service, redis.files); // root's own link
});

test("a password that cannot be read is told by the path of its file", async () => {
  await using redis = await startRedis(first, { roots });
  const file = join(redis.folder, "absent");
  const service = serviceOf({ type: "redis", socket: redis.socket, password: { file } });

  await expect(reload(service, redis.files)).rejects.toThrow(`Cannot read "${file}": no such file or folder`);
});

test("a server whose CAs have all issued each other is seen through in no time", async () => {
  const ca = await makeAuthority({ name: "Mole" });
  const twins = Array.from({ length: 7 }, () => makeAuthority({ name: "Mole", key: ca.key }));
  const { key, leaf } = await (await makePki("Other")).issue({ issuer: ca });
  const authorities = [ca, ...(await Promise.all(twins))].map(({ certificate }) => certificate.pem);
  await using server = await startTls({ key, pem: [leaf.pem, ...authorities].join("") });
  const service = serviceOf({ type: "redis", connect: `127.0.0.1:${server.port}`, tls: true });
  const files = { certificate: "/nowhere/redis.crt", key: "/nowhere/redis.key" };
  const before = process.cpuUsage();

  await expect(reload(service, files)).rejects.toThrow("does not lead to this issuer's roots");

  expect(process.cpuUsage(before).user).toBeLessThan(2_000_000); // microseconds; 7 s where every order is tried
});

test("Redis over TLS is spoken to without Diffie-Hellman of numbers that it chose", async () => {
  const { key, pem } = await pki.issue({ key: "rsa-2048" });
  const options = { maxVersion: "TLSv1.2", ciphers: "DHE-RSA-AES128-GCM-SHA256", dhparam: "auto" } as const;
  await using server = await startTls({ key, pem }, options);
  const service = serviceOf({ type: "redis", connect: `127.0.0.1:${server.port}`, tls: true });
  const files = { certificate: "/nowhere/redis.crt", key: "/nowhere/redis.key" };

  await expect(reload(service, files)).rejects.toThrow("handshake failure");
});

test("a Redis whose certificate has expired still takes the new one over TLS", async () => {
  const expired = await pki.issue({ notBefore: systemClock.now() - 3 * DAY, notAfter: systemClock.now() - DAY });
  await using redis = await startRedis(expired, { roots });
  const service = serviceOf({ type: "redis", connect: `127.0.0.1:${redis.port}`, tls: true });

  await putPair(redis.files, second);
  await reload(service, redis.files);

  await expectServed(redis, second);
});

test("Redis that somebody else restarts meanwhile takes the new pair once it listens again", async () => {
  await using redis = await startRedis(first, { roots });
  const service = serviceOf({ type: "redis", socket: redis.socket, timeout: "60s" });
  await redis.daemon.stop();
  await putPair(redis.files, second);
  let failed = 0;
  const connect: System["connect"] = async (...to) =>
    await system.connect(...to).catch((error: unknown) => {
      failed += 1;
      throw error;
    });

  const told = service.reload(
    { ...system, connect },
    { outputs: outputsAt(redis.files), generation: generationOf(pki, second) },
    signal,
  );
  while (failed === 0) await pause(10);
  await redis.restart();

  expect(await told).toBeUndefined();
  await expectServed(redis, second);
});

test("Redis tells where it serves TLS, and whether it is there", async () => {
  await using redis = await startRedis(first, { roots });
  const service = serviceOf({ type: "redis", socket: redis.socket, timeout: "1s" });
  const outputs = outputsAt(redis.files);

  const found = await service.defaultProbe(system, outputs, signal);
  const before = await service.liveness(system, signal);
  await redis.daemon.stop();

  expect(found).toMatchObject({ address: targetOf(redis).address, starttls: "tls" });
  expect(before).toBe("up");
  expect(await service.liveness(system, signal)).toBe("down");
  await expect(service.defaultProbe(system, outputs, signal)).rejects.toMatchObject({ code: "SERVICE_DOWN" });
  await expect(reload(service, redis.files)).rejects.toMatchObject({ code: "RELOAD_FAILED" });
  await expect(probe(targetOf(redis), signal)).rejects.toMatchObject({ code: "SERVICE_DOWN" });
});

test("probes of a Redis that asks for no client certificate leave no line in its log", async () => {
  await using redis = await startRedis(first, { roots, extra: ["tls-auth-clients no"] });
  const complaints = (): string[] =>
    redis.daemon
      .log()
      .split("\n")
      .filter((line) => line.includes("client connection"));

  for (let count = 0; count < 10; count += 1) await probe(targetOf(redis), signal);

  // One that is cut leaves a line, and Redis writes in the order in which it meets things.
  await listens({ port: redis.port });
  while (complaints().length === 0) await pause(20);
  expect(complaints().length).toBe(1);
});
