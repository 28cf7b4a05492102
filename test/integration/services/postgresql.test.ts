import { appendFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { run } from "../../../src/base/run.ts";
import { MINUTE, pause, SECOND } from "../../../src/base/time.ts";
import type { ProbeTarget, Service } from "../../../src/core/ports.ts";
import { probe, prove } from "../../../src/probes/index.ts";
import { clusterAddresses } from "../../../src/services/postgresql-config.ts";
import { makePki } from "../../servers/pki.ts";
import { type Postgres, startPostgres } from "../../servers/postgres.ts";
import { generationOf, outputsAt, serviceOf, system } from "../../servers/service.ts";

const signal = new AbortController().signal;
const pki = await makePki();
const [first, second] = [
  await pki.issue({ names: ["first.internal"] }),
  await pki.issue({ names: ["second.internal"] }),
];
const torn = { pem: second.pem, key: first.key };
let postgres: Postgres;
let service: Service;
let target: ProbeTarget;

beforeAll(async () => {
  postgres = await startPostgres(first);
  service = serviceOf({
    type: "postgresql",
    reload: postgres.reload,
    probe: { connect: `127.0.0.1:${postgres.port}` },
  });
  if (service.probe === undefined) throw new Error("it has no probe");
  target = service.probe;
});

beforeEach(async () => {
  await postgres.put(first);
  await reload();
  await prove(target, first.leaf.fingerprint, { timeout: MINUTE }, signal);
});

afterAll(async () => {
  await postgres[Symbol.asyncDispose]();
});

function reload(): Promise<string | undefined> {
  const outputs = outputsAt(postgres.files, { owner: "postgres", group: "postgres" });
  return service.reload(system, { outputs, generation: generationOf(pki, second) }, signal);
}

test("PostgreSQL takes a new pair, and the probe sees it after an SSLRequest", async () => {
  await postgres.put(second);
  await reload();

  expect(await prove(target, second.leaf.fingerprint, { timeout: service.timeout }, signal)).toEqual({ served: true });
});

test("PostgreSQL calls a reload done that kept the old pair; only the probe tells", async () => {
  await postgres.put(torn);
  await reload();
  while (!postgres.log().includes("SSL configuration was not reloaded")) await pause(20);

  expect(await prove(target, second.leaf.fingerprint, { timeout: SECOND }, signal)).toMatchObject({
    served: false,
    failure: { message: expect.stringContaining('another one is served there: "first.internal"') },
    other: { fingerprint: first.leaf.fingerprint },
  });
});

test("a reload that PostgreSQL would refuse for the key's mode is not even run", async () => {
  const outputs = outputsAt(postgres.files, { owner: "postgres", mode: 0o640 });

  const reloading = service.reload(system, { outputs, generation: generationOf(pki, second) }, signal);

  await expect(reloading).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringContaining("mode 0640"),
  });
});

test.for(["TLSv1.2", "TLSv1.3"])(
  "PostgreSQL shows its leaf under %s to who has no client certificate",
  async (version) => {
    await appendFile(
      postgres.config,
      `ssl_min_protocol_version = '${version}'\nssl_max_protocol_version = '${version}'\nssl_ca_file = '${postgres.data}/ca.crt'\n`,
    );
    await writeFile(join(postgres.data, "ca.crt"), pki.roots.map(({ pem }) => pem).join(""), { mode: 0o644 });
    await writeFile(join(postgres.data, "pg_hba.conf"), "hostssl all all all cert\n");
    await postgres.put(second);
    await reload();

    expect(await prove(target, second.leaf.fingerprint, { timeout: MINUTE }, signal)).toEqual({ served: true });
  },
);

test("twenty probes of PostgreSQL leave no line in its log", async () => {
  const before = postgres.log().length;

  for (let count = 0; count < 20; count += 1) await probe(target, signal);

  // A client that is none does leave one.
  const client = connect(postgres.port, "127.0.0.1", () => client.end("\0\0\0\0"));
  const lines = (): string[] => postgres.log().slice(before).trim().split("\n");
  while (!postgres.log().includes("invalid length of startup packet")) await pause(20);
  expect(lines()).toEqual([expect.stringContaining("invalid length of startup packet")]);
});

test("the default probe of PostgreSQL is where the cluster listens that has our certificate", async () => {
  const outputs = outputsAt(postgres.files);

  const configs = [join(postgres.data, "..", "*", "postgresql.conf")];

  expect(await clusterAddresses("postgresql.service", outputs, configs)).toEqual([
    { host: "127.0.0.1", port: postgres.port },
  ]);
  expect(
    await clusterAddresses("postgresql.service", outputsAt({ certificate: "/a.crt", key: "/a.key" }), configs),
  ).toEqual([{ host: "127.0.0.1", port: 5432 }]);
  expect(await service.defaultProbe(system, outputsAt({ certificate: "/a.crt", key: "/a.key" }), signal)).toMatchObject(
    {
      starttls: "postgres",
    },
  );
});

test("the default probe of PostgreSQL is where it runs, whatever its configuration says since", async () => {
  await appendFile(postgres.config, "port = '1'\n");

  const found = await clusterAddresses("postgresql.service", outputsAt(postgres.files), [postgres.config]);

  expect(found).toEqual([{ host: "127.0.0.1", port: postgres.port }]);
});

test("a probe at PostgreSQL's unix socket is told to be none", async () => {
  const path = join(postgres.data, "..", `.s.PGSQL.${postgres.port}`);

  await expect(probe({ ...target, address: { path } }, signal)).rejects.toMatchObject({
    message: `Cannot see the certificate at ${path}: PostgreSQL has no TLS on a unix socket`,
    hint: expect.stringContaining("127.0.0.1:5432"),
  });
});

test("PostgreSQL with TLS switched off is told from one that is down", async () => {
  await appendFile(postgres.config, "ssl = 'off'\n");
  await run(postgres.reload, { timeout: MINUTE });
  while (!postgres.log().includes('parameter "ssl" changed to "off"')) await pause(20);

  const waitForOff = await prove(target, "0", { timeout: SECOND }, signal);
  await appendFile(postgres.config, "ssl = 'on'\n");
  await postgres.stop();

  expect(waitForOff).toMatchObject({ failure: { message: expect.stringContaining("TLS switched off") } });
  await expect(probe(target, signal)).rejects.toMatchObject({ code: "SERVICE_DOWN" });
});
