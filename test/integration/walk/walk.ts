import {
  appendFile,
  chmod,
  chown,
  copyFile,
  lstat,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { StatusDocument } from "../../../src/core/status-document.ts";
import { listenForNotifications, type NotifySocket } from "../../servers/notify-socket.ts";
import { type Agent, certagent, startCertagent } from "../../servers/program.ts";
import type { Way } from "../../servers/ways.ts";
import { hits, keysBelow, readableByOthers, secretOf } from "../secrets/canary.ts";
import { accessOf, areCurrent, fingerprintOf, isCurrent, issuancesOf, keepConnecting, leafIn, served } from "./look.ts";
import { FIVE, LONG, makeWorld, REDIS_PASSWORD, type World } from "./world.ts";

/**
 * The contract's five specs through their whole life, with the real program and real servers, certagent being run in one
 * of its ways. The tests are the stages of one walk: each begins where the one before it ended.
 */
export function walk(way: Way): void {
  let world: World;
  let manager: NotifySocket;
  /** What the service manager was told. */
  const told: string[] = [];
  let hearing: NodeJS.Timeout;
  let agent: Agent;
  let clients: ReturnType<typeof keepConnecting>;

  beforeAll(async () => {
    world = await makeWorld(LONG, way);
    manager = listenForNotifications(join(world.home.folder, "notify"));
    // Its queue is short, as the kernel's is.
    hearing = setInterval(() => told.push(...manager.received()), 50);
  });
  afterAll(async () => {
    await agent?.stop("SIGKILL");
    clearInterval(hearing);
    manager[Symbol.dispose]();
    await world[Symbol.asyncDispose]();
  });

  /** All that ran, for what they have told. */
  const agents: Agent[] = [];

  async function start(home = world.home): Promise<Agent> {
    const started = await world.start({ env: { NOTIFY_SOCKET: manager.address } }, home);
    agents.push(started);
    return started;
  }

  /** What the CA issues from now on. The log of a real CA comes a moment after its answer. */
  function issuancesFromNow(): () => { sign: number; renew: number } {
    const before = issuancesOf(world.ca);
    return () => {
      const { sign, renew } = issuancesOf(world.ca);
      return { sign: sign - before.sign, renew: renew - before.renew };
    };
  }

  async function generations(): Promise<Record<string, number | undefined>> {
    const { certificates } = await agent.status();
    return Object.fromEntries(certificates.map(({ name, leaf }) => [name, leaf?.generation]));
  }

  const servedByNginx = (): string => fingerprintOf(served(world.nginx.port, "-servername", "vlc-admin.internal"));
  const servedByPostgres = (): string => fingerprintOf(served(world.postgres.port, "-starttls", "postgres"));

  test("five specs and a password become certificates that are in force, with exactly the access that was asked for", async () => {
    const { paths, ca } = world;
    await world.givePassword();
    agent = await start();

    await agent.until("all five are current", areCurrent);

    clients = keepConnecting(world.exporter.port);
    const access = await Promise.all(
      FIVE.flatMap((name) =>
        Object.entries(paths[name]).map(async ([kind, path]) => [name, kind, await accessOf(path)]),
      ),
    );
    expect(access).toEqual([
      ["host", "certificate", "root:root 644"],
      ["host", "key", "root:root 600"],
      ["node-exporter", "certificate", "root:daemon 644"],
      ["node-exporter", "key", "root:daemon 640"],
      ["postgres", "certificate", "postgres:postgres 644"],
      ["postgres", "key", "postgres:postgres 600"],
      ["postgres", "roots", "postgres:postgres 644"],
      ["redis", "certificate", "redis:redis 644"],
      ["redis", "key", "redis:redis 600"],
      ["redis", "roots", "redis:redis 644"],
      ["vlc-admin", "certificate", "root:root 644"],
      ["vlc-admin", "key", "root:root 640 user:www-data:r--"],
    ]);
    expect(servedByNginx()).toBe(await leafIn(paths["vlc-admin"].certificate));
    expect(servedByPostgres()).toBe(await leafIn(paths.postgres.certificate));
    expect(fingerprintOf(served(world.redis.port))).toBe(await leafIn(paths.redis.certificate));
    expect(fingerprintOf(served(world.exporter.port))).toBe(await leafIn(paths["node-exporter"].certificate));
    await expect(stat(world.passwordFile)).rejects.toThrow("ENOENT");
    await expect.poll(() => issuancesOf(ca)).toEqual({ sign: 5, renew: 0 });
  });

  test("status says what the servers serve, and exits with 0", async () => {
    const { code, stdout } = await certagent(world.home, "status", "--json");

    const document = JSON.parse(stdout) as StatusDocument;
    expect(document.agent).toMatchObject({ running: true, pid: agent.pid, apply: world.way.name });
    const proofs = document.certificates.map(({ name, leaf, services }) => [
      name,
      services.map(({ type, state, fingerprint }) => [type, state, fingerprint === leaf?.fingerprint]),
    ]);
    expect(proofs).toEqual([
      ["host", []],
      ["node-exporter", [["none", "proven", true]]],
      ["postgres", [["postgresql", "proven", true]]],
      ["redis", [["redis", "proven", true]]],
      ["vlc-admin", [["nginx", "proven", true]]],
    ]);
    expect(code).toBe(0);
  });

  test("files that certagent did not write were kept before they were replaced, for root alone", async () => {
    const folder = join(world.home.state, "apply", "replaced");
    const kept = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = kept.filter((entry) => entry.isFile()).map(({ parentPath, name }) => join(parentPath, name));

    // Certificate and key of nginx and PostgreSQL; of Redis the root too, which was there and is the same.
    expect(files.length).toBeGreaterThanOrEqual(6);
    for (const file of files) expect(await accessOf(file), file).toBe("root:root 600");
  });

  test("SIGHUP renews each exactly once over mTLS, and READY follows the re-read, not the renewals", async () => {
    const issued = issuancesFromNow();
    const before = await generations();
    const keys = await Promise.all(FIVE.map((name) => readFile(world.paths[name].key, "utf8")));
    told.length = 0;

    process.kill(world.ca.pid, "SIGSTOP");
    agent.send("SIGHUP");
    await expect.poll(() => told.join(" ")).toMatch(/RELOADING=1[^]*READY=1/);
    expect(told.find((message) => message.includes("RELOADING=1"))).toMatch(/^MONOTONIC_USEC=\d+$/m);
    agent.send("SIGHUP"); // joins what is under way
    await agent.until("a renewal waits for the CA", (all) =>
      [...all.values()].some(({ state }) => state === "renewing"),
    );
    process.kill(world.ca.pid, "SIGCONT");

    await agent.until("all five are renewed", (all) => {
      return areCurrent(all) && FIVE.every((name) => (all.get(name)?.leaf?.generation ?? 0) > (before[name] ?? 0));
    });
    expect(await generations()).toEqual(Object.fromEntries(FIVE.map((name) => [name, (before[name] ?? 0) + 1])));
    await expect.poll(issued).toEqual({ sign: 0, renew: 5 });
    expect(await Promise.all(FIVE.map((name) => readFile(world.paths[name].key, "utf8")))).toEqual(keys);
    expect(servedByNginx()).toBe((await agent.certificate("vlc-admin")).leaf?.fingerprint);
  });

  test("renew renews one, waits for it, and exits with 0; an unknown name is used wrongly", async () => {
    const issued = issuancesFromNow();
    const before = await generations();

    const { code, stdout } = await certagent(world.home, "renew", "postgres");

    expect({ code, stdout }).toEqual({ code: 0, stdout: expect.stringMatching(/^postgres: renewed, current/) });
    expect(await generations()).toEqual({ ...before, postgres: (before["postgres"] ?? 0) + 1 });
    expect(servedByPostgres()).toBe((await agent.certificate("postgres")).leaf?.fingerprint);
    await expect.poll(issued).toEqual({ sign: 0, renew: 1 });
    expect(await certagent(world.home, "renew", "postgers")).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('There is no spec "postgers"'),
    });
  });

  test("a name that is added needs the secret: without it the old pair stays and the operator is told the command", async () => {
    const issued = issuancesFromNow();
    const leaf = servedByNginx();
    const text = await world.spec("vlc-admin");

    await world.home.write(
      "vlc-admin",
      text.replace("sans: [vlc-admin.internal]", "sans: [vlc-admin.internal, www.internal]"),
    );
    const all = await agent.until("it fails", (now) => now.get("vlc-admin")?.state === "failing");
    expect(all.get("vlc-admin")?.failure).toMatchObject({
      code: "CREDENTIAL_MISSING",
      hint: `install -m 0600 ${world.way.asUser}PASSWORD_FILE ${world.passwordFile}`,
    });
    expect(FIVE.filter((name) => !isCurrent(all.get(name)))).toEqual(["vlc-admin"]);
    expect(servedByNginx()).toBe(leaf);
    expect(issued()).toEqual({ sign: 0, renew: 0 });

    await world.givePassword();
    await agent.until("it is current again", areCurrent);
    expect(served(world.nginx.port, "-servername", "vlc-admin.internal").subjectAltName).toBe(
      "DNS:vlc-admin.internal, DNS:www.internal",
    );
    await expect(stat(world.passwordFile)).rejects.toThrow("ENOENT");
    await expect.poll(issued).toEqual({ sign: 1, renew: 0 });
  });

  test("a broken edit is told with its place, and the last good version stays in force", async () => {
    const text = await world.spec("redis");
    const broken = text.replace('mode: "0600"', "mode: 0640");
    const before = await generations();

    await world.home.write("redis", broken);
    const all = await agent.until("it is refused", (now) => now.get("redis")?.failure?.code === "SPEC_INVALID");
    const row = broken.split("\n").findIndex((line) => line.includes("mode: 0640"));
    const column = (broken.split("\n")[row] ?? "").indexOf("0640") + 1;
    expect(all.get("redis")?.failure?.message).toContain(`${world.home.specs}/redis.yaml:${row + 1}:${column}: `);
    expect(all.get("redis")?.failure?.hint).toContain('write mode: "0640"');
    expect(all.get("redis")?.state).toBe("current");
    expect((await certagent(world.home, "status")).code).toBe(3);
    expect((await certagent(world.home, "check")).code).toBe(1);

    await certagent(world.home, "renew", "redis");
    expect(await generations()).toEqual({ ...before, redis: (before["redis"] ?? 0) + 1 });
    expect(await accessOf(world.paths.redis.key)).toBe("redis:redis 600");

    await world.home.write("redis", text);
    await agent.until("it is understood again", areCurrent);
    expect((await certagent(world.home, "status")).code).toBe(0);
  });

  test("a spec that is added is minted; one that is removed stops, and its files stay", async () => {
    const files = [join(world.tls, "new.pem"), join(world.tls, "new.key")] as const;
    await world.givePassword();

    await world.home.write(
      "new",
      `subject: new.internal\noutputs:\n  - { format: fullchain, path: ${files[0]} }\n  - { format: key, path: ${files[1]} }\n`,
    );
    const all = await agent.until("it is current", (now) => isCurrent(now.get("new")));
    expect(await leafIn(files[0])).toBe(all.get("new")?.leaf?.fingerprint);

    await world.home.remove("new");
    await agent.until("it is gone", (now) => !now.has("new"));
    expect(await leafIn(files[0])).toBe(all.get("new")?.leaf?.fingerprint);
    expect(await accessOf(files[1])).toBe("root:root 600");
  });

  test("with the CA away a renewal fails and says so, files are still repaired, and the wish is done once it is back", async () => {
    const issued = issuancesFromNow();
    const before = await generations();
    await world.ca.stop();

    const { code, stdout } = await certagent(world.home, "renew", "vlc-admin");
    expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringContaining("not renewed, failing: Cannot ") });
    const failing = await agent.certificate("vlc-admin");
    expect(failing).toMatchObject({
      state: "failing",
      because: "the CA cannot be reached",
      next: { action: "issue", because: "trying again after a failure" },
      services: [{ state: "proven" }],
      failure: { code: "ISSUER_UNREACHABLE", message: expect.stringContaining(world.ca.url), hint: expect.any(String) },
    });
    expect((await certagent(world.home, "status")).code).toBe(3);
    await rm(world.paths.postgres.certificate);
    await world.home.configure(world.config("21s")); // looks at everything now
    await expect.poll(() => accessOf(world.paths.postgres.certificate).catch(String)).toBe("postgres:postgres 644");

    await world.ca.start();
    await agent.until("it recovers by itself", areCurrent);
    expect(await generations()).toEqual({ ...before, "vlc-admin": (before["vlc-admin"] ?? 0) + 1 });
    await expect.poll(issued).toEqual({ sign: 0, renew: 1 });
  });

  let issuedInTrouble: () => { sign: number; renew: number };

  describe.concurrent("with services and files in trouble", () => {
    beforeAll(() => {
      issuedInTrouble = issuancesFromNow();
    });

    test("nginx that somebody else broke keeps its old certificate and takes the new one when it is mended", async () => {
      const old = servedByNginx();
      await world.nginx.configure("this_is_no_directive on;");

      await certagent(world.home, "renew", "vlc-admin");
      const broken = await agent.certificate("vlc-admin");
      expect(broken).toMatchObject({
        state: "unproven",
        outputs: [{ state: "current" }, { state: "current" }],
        services: [{ state: "unproven" }],
        failure: { code: "RELOAD_FAILED", message: expect.stringContaining("this_is_no_directive") },
      });
      expect(await leafIn(world.paths["vlc-admin"].certificate)).toBe(broken.leaf?.fingerprint);
      expect(servedByNginx()).toBe(old);

      await world.nginx.configure("");
      await agent.until("nginx took it", (all) => isCurrent(all.get("vlc-admin")));
      expect(servedByNginx()).toBe(broken.leaf?.fingerprint);
    });

    test("PostgreSQL that reports a reload and keeps the old certificate is found out, and proven later", async () => {
      const { postgres, paths } = world;
      const old = servedByPostgres();
      const held = { certificate: join(postgres.data, "held.crt"), key: join(postgres.data, "held.key") };
      for (const kind of ["certificate", "key"] as const) {
        await copyFile(paths.postgres[kind], held[kind]);
        await chown(held[kind], postgres.uid, postgres.uid);
        await chmod(held[kind], 0o600);
      }
      const config = await readFile(postgres.config);
      await appendFile(postgres.config, `ssl_cert_file = '${held.certificate}'\nssl_key_file = '${held.key}'\n`);

      const { code } = await certagent(world.home, "renew", "postgres");
      const stale = await agent.certificate("postgres");
      expect(stale).toMatchObject({
        state: "unproven",
        outputs: [{ state: "current" }, { state: "current" }, { state: "current" }],
        services: [{ state: "unproven", fingerprint: old }],
        failure: { code: "SERVICE_STALE", message: expect.stringContaining("another one is served there") },
      });
      expect(code).toBe(1);
      expect(servedByPostgres()).toBe(old);

      await writeFile(postgres.config, config);
      await agent.until("it is proven", (all) => isCurrent(all.get("postgres")));
      expect(servedByPostgres()).toBe(stale.leaf?.fingerprint);
    });

    test("a service that is down costs no issuance: its files are placed, and it is proven when it runs again", async () => {
      await world.redis.daemon.stop();

      expect((await certagent(world.home, "renew", "redis")).code).toBe(0);
      const down = await agent.certificate("redis");
      expect(down).toMatchObject({
        state: "unproven",
        services: [{ state: "unproven" }],
        failure: { code: "SERVICE_DOWN" },
      });
      expect(await leafIn(world.paths.redis.certificate)).toBe(down.leaf?.fingerprint);
      expect((await certagent(world.home, "status")).code).toBe(3);

      await world.redis.restart();
      await agent.until("Redis is proven", (all) => isCurrent(all.get("redis")));
      expect(fingerprintOf(served(world.redis.port))).toBe(down.leaf?.fingerprint);
    });
  });

  test("none of that trouble cost more than the three renewals that were asked for", async () => {
    await expect.poll(issuedInTrouble).toEqual({ sign: 0, renew: 3 });
  });

  test("files that somebody changed are put right at the next look: a mode, a content, a link", async () => {
    const { host, "node-exporter": exporter } = world.paths;
    const key = await readFile(host.key, "utf8");
    const [certificate, same] = [await readFile(host.certificate), await readFile(exporter.certificate)];
    await chmod(host.key, 0o644);
    await writeFile(host.certificate, "not a certificate at all\n");
    await writeFile(`${exporter.certificate}.mine`, same);
    await rename(`${exporter.certificate}.mine`, exporter.certificate);

    await world.home.configure(world.config("22s")); // looks at everything now
    const repaired = { timeout: 60_000, interval: 200 };
    await expect.poll(() => accessOf(host.key), repaired).toBe("root:root 600");
    await expect.poll(() => readFile(host.certificate), repaired).toEqual(certificate);
    await expect.poll(async () => (await lstat(exporter.certificate)).isSymbolicLink(), repaired).toBe(true);
    expect(await readFile(host.key, "utf8")).toBe(key);
    expect(await accessOf(host.certificate)).toBe("root:root 644");
    expect(await readFile(exporter.certificate)).toEqual(same);
  });

  test("a reload that fails takes the files back, and is tried again without a new certificate", async () => {
    const issued = issuancesFromNow();
    const { certificate, key } = world.paths["vlc-admin"];
    const old = await Promise.all([readFile(certificate), readFile(key)]);
    await writeFile(world.brokenReload, "");

    const { code, stdout } = await certagent(world.home, "renew", "vlc-admin");
    expect({ code, stdout }).toEqual({ code: 1, stdout: expect.stringContaining("no reload today") });
    expect(await Promise.all([readFile(certificate), readFile(key)])).toEqual(old);
    expect(await accessOf(key)).toBe("root:root 640 user:www-data:r--");
    expect(await agent.certificate("vlc-admin")).toMatchObject({
      state: "failing",
      failure: { code: "RELOAD_FAILED" },
    });
    expect(servedByNginx()).toBe(await leafIn(certificate));

    await rm(world.brokenReload);
    await agent.until("it is taken after all", areCurrent);
    expect(servedByNginx()).toBe(await leafIn(certificate));
    expect((await readFile(certificate)).equals(old[0])).toBe(false);
    await expect.poll(issued).toEqual({ sign: 0, renew: 1 });
  });

  test("a file that somebody else keeps writing is told of after three repairs, and left alone for a while", async () => {
    const { certificate } = world.paths["vlc-admin"];
    const spoil = async (round: number): Promise<void> => {
      await chmod(certificate, 0o600);
      await world.home.configure(world.config(`${30 + round}s`)); // looks at everything now
    };
    for (const round of [1, 2, 3]) {
      await spoil(round);
      await expect.poll(() => accessOf(certificate)).toBe("root:root 644");
    }

    await spoil(4);
    const all = await agent.until("it is told", (now) => now.get("vlc-admin")?.failure?.code === "DRIFT_FIGHT");
    expect(all.get("vlc-admin")).toMatchObject({
      state: "failing",
      failure: { message: expect.stringContaining(certificate) },
    });
    expect(await accessOf(certificate)).toBe("root:root 600");

    await certagent(world.home, "renew", "vlc-admin");
    expect(await accessOf(certificate)).toBe("root:root 644");
    expect(isCurrent(await agent.certificate("vlc-admin"))).toBe(true);
  });

  test("an agent that was killed goes on where it was, without a new certificate", async () => {
    const issued = issuancesFromNow();
    const before = await generations();
    expect(await agent.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });

    agent = await start();

    await agent.until("all are current", areCurrent);
    expect(await generations()).toEqual(before);
    expect(issued()).toEqual({ sign: 0, renew: 0 });
  });

  test("a second agent, and once beside the daemon, end with 1 and one clear line, and the first goes on", async () => {
    const second = await startCertagent(["run", ...(way.agent.options ?? []), ...world.home.options], way.agent);
    for (const outcome of [await second.ended, await certagent(world.home, "once")]) {
      const { code, stdout, stderr } = outcome;
      expect({ code, stdout, lines: stderr.trimEnd().split("\n").length }).toEqual({ code: 1, stdout: "", lines: 1 });
      expect(stderr).toMatch(/^<3>.*another (agent|certagent)/i);
    }
    await agent.until("the first is well", areCurrent);
  });

  test("SIGTERM ends it with 0; plan, check, status and once then work from what is on disk", async () => {
    const issued = issuancesFromNow();
    expect(await certagent(world.home, "plan", "--json")).toMatchObject({ code: 0, stderr: "" });

    expect(await agent.stop("SIGTERM")).toMatchObject({ code: 0, signal: null });

    const status = await certagent(world.home, "status", "--json");
    expect(status).toMatchObject({ code: 0, stderr: expect.stringContaining("no agent runs") });
    const document = JSON.parse(status.stdout) as StatusDocument;
    expect(document.agent.running).toBe(false);
    expect(document.certificates.map(({ name, state }) => [name, state])).toEqual(
      FIVE.map((name) => [name, "current"]),
    );
    const plan = await certagent(world.home, "plan", "--json");
    // A service may just be due to be looked at again.
    const action = expect.stringMatching(/^(?:wait|prove)$/);
    expect(JSON.parse(plan.stdout)).toMatchObject({ certificates: FIVE.map((name) => ({ name, action })) });
    expect(await certagent(world.home, "check")).toMatchObject({ code: 0 });
    expect(await certagent(world.home, "once")).toMatchObject({ code: 0 });
    expect(await certagent(world.home, "renew", "host")).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("no agent"),
    });
    expect(issued()).toEqual({ sign: 0, renew: 0 });
  });

  test("a host whose state is lost adopts what is deployed, and renews it over mTLS with no secret", async () => {
    const issued = issuancesFromNow();
    const second = world.home.reinstalled();
    // Broken by somebody else: what is adopted is not what breaks it.
    await world.nginx.configure("this_is_no_directive on;");
    agent = await start(second);

    await agent.until("nginx is found broken", (all) => {
      const one = all.get("vlc-admin");
      return one?.state === "unproven" && one.failure?.code === "RELOAD_FAILED";
    });
    await world.nginx.configure("");
    await agent.until("all are current", areCurrent);
    expect(agent.journal().filter((line) => line.startsWith("<6>adopted certificate=")).length).toBe(5);
    expect(issued()).toEqual({ sign: 0, renew: 0 });

    expect(await certagent(second, "renew", "--all")).toMatchObject({ code: 0 });
    await expect.poll(issued).toEqual({ sign: 0, renew: 5 });
    await agent.until("all are current", areCurrent);
  });

  test("node_exporter lived through it all, and every handshake with it found a whole pair", async () => {
    const { well, failed } = await clients.stop();

    expect(failed).toBe(0);
    expect(well).toBeGreaterThan(100);
    expect(world.exporter.running).toBe(true);
    expect(world.exporter.log()).not.toContain("mismatch");
  });

  test("no secret shows in all that the agents have told, nor in a file that others may read", async () => {
    const folders = [world.home.folder, ...FIVE.map((name) => dirname(world.paths[name].key))];
    const secrets = [
      secretOf("the provisioner's password", world.ca.provisioner.password),
      secretOf("the password of Redis", REDIS_PASSWORD),
      ...(await Promise.all(folders.map(keysBelow))).flat(),
    ];
    const journals = [...agents, world].map((one) => ({ where: "a journal", text: one.journal().join("\n") }));
    const files = (await Promise.all(folders.map(readableByOthers))).flat();

    expect(secrets.length).toBeGreaterThan(FIVE.length);
    // A server's own configuration is its own.
    expect(hits(secrets, [...journals, ...files.filter(({ where }) => !where.endsWith(".conf"))])).toEqual([]);
  });
}
