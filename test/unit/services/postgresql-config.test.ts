import { mkdir, mkdtempDisposable, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { addressByUnit, clusterAddresses } from "../../../src/services/postgresql-config.ts";
import { desiredIn } from "../../integration/apply/harness.ts";
import { system } from "../../servers/service.ts";

test("a configuration that includes itself again and again, folders and devices too, ends", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  const lines = [
    `data_directory = '${data.path}'`,
    "ssl_cert_file = 'web.crt'",
    "include '/dev/zero'",
    ...Array<string>(2000).fill("include 'postgresql.conf'\ninclude_dir '.'"),
    "port = 6000",
  ];
  await writeFile(config, lines.join("\n"));

  const address = await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, [config]);

  expect(address).toEqual([{ host: "127.0.0.1", port: 6000 }]);
});

test("the last setting wins, included ones in their place", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  await writeFile(join(data.path, "more"), "port = 6001\nlisten_addresses = '127.0.0.2'\n");
  await writeFile(config, "port = 6000\nssl_cert_file = 'web.crt'\ninclude_if_exists 'more'\nport = 6002\n");

  expect(await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, [config])).toEqual([
    { host: "127.0.0.2", port: 6002 },
  ]);
});

test("a cluster is found in whichever folder it lies", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  await mkdir(join(data.path, "17", "main"), { recursive: true });
  await mkdir(join(data.path, "18"));
  await writeFile(join(data.path, "notes"), "");
  const config = "port = 6003\nssl_cert_file = '../../web.crt'\n";
  await writeFile(join(data.path, "17", "main", "postgresql.conf"), config);

  const pattern = join(data.path, "*", "*", "postgresql.conf");

  expect(await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, [pattern])).toEqual([
    { host: "127.0.0.1", port: 6003 },
  ]);
});

test("a cluster that has its certificate by a link is found, before that is there too", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  await symlink("tls/web.crt", join(data.path, "server.crt"));
  await writeFile(config, "port = 6009\n");

  expect(await clusterAddresses("postgresql.service", desiredIn(join(data.path, "tls")).outputs, [config])).toEqual([
    { host: "127.0.0.1", port: 6009 },
  ]);
});

test("of clusters with one certificate the one that the unit stands for is looked at", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const { outputs } = desiredIn(data.path);
  for (const [name, port] of [
    ["main", 6006],
    ["second", 6007],
    ["other-second", 6008],
  ] as const) {
    await mkdir(join(data.path, "17", name), { recursive: true });
    const config = `port = ${port}\nssl_cert_file = '../../web.crt'\n`;
    await writeFile(join(data.path, "17", name, "postgresql.conf"), config);
  }
  const portOf = (unit: string) => clusterAddresses(unit, outputs, [join(data.path, "*", "*", "postgresql.conf")]);

  expect(await portOf("postgresql.service")).toMatchObject([{ port: 6006 }]);
  expect(await portOf("postgresql@17-second.service")).toMatchObject([{ port: 6007 }]);
  expect(await portOf("postgresql@17-other-second.service")).toMatchObject([{ port: 6008 }]);
  expect(await portOf("postgresql@17-gone.service")).toMatchObject([{ port: 5432 }]);
});

test("of clusters with one certificate the one that runs is looked at, and not what an upgrade has left behind", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const { outputs } = desiredIn(data.path);
  const configs = ["15", "17"].map((version) => join(data.path, version, "postgresql.conf"));
  for (const [index, config] of configs.entries()) {
    await mkdir(dirname(config));
    await writeFile(config, `port = ${6010 + index}\nssl_cert_file = '../web.crt'\n`);
  }
  await writeFile(join(data.path, "17", "postmaster.pid"), "1\n/\n1\n6011\n/run/postgresql\nlocalhost\n");

  expect(await clusterAddresses("postgresql.service", outputs, configs)).toEqual([{ host: "localhost", port: 6011 }]);
});

test("of clusters with one certificate all that run and serve it are looked at", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const clusters = {
    plain: ["ssl = off", "127.0.0.1"],
    main: ["ssl = on", "*"],
    two: ["ssl = on", "127.0.0.2"],
  } as const;
  const configs = Object.keys(clusters).map((name) => join(data.path, name, "postgresql.conf"));
  for (const [name, [ssl, listens]] of Object.entries(clusters)) {
    await mkdir(join(data.path, name));
    await writeFile(join(data.path, name, "postgresql.conf"), `ssl_cert_file = '../web.crt'\n${ssl}\n`);
    await writeFile(join(data.path, name, "postmaster.pid"), `1\n/\n1\n6012\n/run/postgresql\n${listens}\n`);
  }

  expect(await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, configs)).toEqual([
    { host: "127.0.0.1", port: 6012 },
    { host: "127.0.0.2", port: 6012 },
  ]);
});

test("a folder that is included is one folder, and no pattern for all there are", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  await mkdir(join(data.path, "else"));
  await writeFile(join(data.path, "else", "its.conf"), "port = 6004\n");
  await writeFile(config, "port = 6000\nssl_cert_file = 'web.crt'\ninclude_dir '*'\ninclude_dir '**'\n");

  expect(await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, [config])).toMatchObject([
    { port: 6000 },
  ]);
});

test("of a configuration without end no more is read than one has, and nothing of it is kept", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  await mkdir(join(data.path, "much"));
  for (const file of "abcdefghij") {
    await writeFile(join(data.path, "much", `${file}.conf`), `x${file} 1\n`.repeat(20_000));
  }
  await writeFile(join(data.path, "much", "z.conf"), `${"y 1\n".repeat(20_000)}port = 6005\n`);
  await writeFile(config, "port = 6000\nssl_cert_file = 'web.crt'\ninclude_dir 'much'\n");

  expect(await clusterAddresses("postgresql.service", desiredIn(data.path).outputs, [config])).toMatchObject([
    { port: 6000 },
  ]);
});

test.each([
  ["-D /DATA", ""],
  ["-D ${PGDATA}", "PGDATA=/DATA PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj"],
])("a cluster whose unit starts it with %j and %j is looked at where that lies", async (words, environment) => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  await writeFile(join(data.path, "postgresql.conf"), "port = 6010\nlisten_addresses = '127.0.0.3'\n");
  const started = `ExecStart={ path=/pg/postgres ; argv[]=/pg/postgres ${words} ; ignore_errors=no ; pid=0 }`;
  const output = `${started}\nEnvironment=${environment}\n`.replace("/DATA", data.path);
  const ask = async () => ({ exitCode: 0, signal: null, timedOut: false, output });

  const address = await addressByUnit({ ...system, ask }, "postgresql-16.service", new AbortController().signal);

  expect(address).toEqual({ host: "127.0.0.3", port: 6010 });
});

test.each([
  ["/bin/true", "/x", "Environment="],
  // What such a file says goes before PGDATA, and systemd does not tell it.
  ["/pg/postgres", "-D ${PGDATA}", "Environment=PGDATA=/old\nEnvironmentFiles=/etc/sysconfig/pg (ignore_errors=yes)"],
])("a unit that starts %s with %j and %j, and so names no data folder, tells of no address", async (...unit) => {
  const [path, words, environment] = unit;
  const output = `ExecStart={ path=${path} ; argv[]=${path} ${words} ; ignore_errors=no ; pid=0 }\n${environment}\n`;
  const ask = async () => ({ exitCode: 0, signal: null, timedOut: false, output });

  expect(await addressByUnit({ ...system, ask }, "pg.service", new AbortController().signal)).toBeUndefined();
});

test("of a cluster that listens at its unix socket alone it is told that nobody can look, unless another serves", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const { outputs } = desiredIn(data.path);
  const clusterAt = async (name: string, port: number, address: string): Promise<string> => {
    const config = join(data.path, name, "postgresql.conf");
    await mkdir(dirname(config));
    await writeFile(config, "ssl_cert_file = '../web.crt'\n");
    await writeFile(join(dirname(config), "postmaster.pid"), `9\n/d\n1\n${port}\n/tmp\n${address}\n 1 2\nready   \n`);
    return config;
  };
  const alone = await clusterAt("alone", 6012, "");
  const serving = await clusterAt("serving", 6013, "localhost");
  const ask: typeof system.ask = async () => ({
    exitCode: 0,
    signal: null,
    timedOut: false,
    output: `ExecStart={ path=/usr/bin/postgres ; argv[]=/usr/bin/postgres -D ${dirname(alone)} ; ignore_errors=no ; }\n`,
  });
  const unseen = { code: "SERVICE_UNSEEN", hint: expect.stringContaining("listen_addresses") };

  expect(await clusterAddresses("postgresql.service", outputs, [alone])).toMatchObject(unseen);
  expect(await addressByUnit({ ...system, ask }, "pg.service", new AbortController().signal)).toMatchObject(unseen);
  expect(await clusterAddresses("postgresql.service", outputs, [alone, serving])).toEqual([
    { host: "localhost", port: 6013 },
  ]);
});
