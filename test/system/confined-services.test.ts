/** Services that the root side tells of new files from within its sandbox, which has neither a network nor a folder to write. */
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { MINUTE, pause, systemClock } from "../../src/base/time.ts";
import { type IssuedLeaf, makePki, type Pki } from "../servers/pki.ts";
import { doConfined, installDriver } from "./confined.ts";
import type { DrivenPair } from "./confined-driver.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";
import { PAIRS, REDIS_PASSWORD, startServices } from "./services.ts";

let machine: Machine;
let pki: Pki;

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("layers"));
  await machine.boot();
  pki = await makePki("Confined");
  await startServices(machine, await pki.issue({ names: ["old.internal"] }), pki.root.certificate.pem);
  await installDriver(machine);
  await put(machine, "/etc/certagent/redis-password", `${REDIS_PASSWORD}\n`, "0600");
});

afterAll(async () => await machine[Symbol.asyncDispose]());

/** A new pair in the place of the old one. */
async function replaced(name: keyof typeof PAIRS): Promise<{ issued: IssuedLeaf; pair: DrivenPair }> {
  const issued = await pki.issue({ names: ["old.internal", `${name}.internal`] });
  const [certificatePath, keyPath] = PAIRS[name];
  // Into the files that are there, so that each keeps its owner and mode.
  await machine.sh(`cat > ${certificatePath}`, { input: issued.pem });
  await machine.sh(`cat > ${keyPath}`, { input: issued.key.toPem() });
  const roots = pki.root.certificate.pem;
  const names = ["old.internal"];
  const owner = await machine.sh(`stat --format=%U ${keyPath}`);
  return {
    issued,
    pair: { chain: issued.pem, key: issued.key.toPem(), roots, names, certificatePath, keyPath, owner },
  };
}

async function serialAt(port: number, starttls = ""): Promise<string> {
  const ask = `openssl s_client -connect 127.0.0.1:${port} ${starttls} < /dev/null 2> /dev/null`;
  return (await machine.sh(`${ask} | openssl x509 -noout -serial || true`)).toLowerCase();
}

async function untilServed(issued: IssuedLeaf, port: number, starttls?: string): Promise<void> {
  const wanted = `serial=${issued.leaf.serial.toLowerCase()}`;
  const end = systemClock.monotonic() + 3 * MINUTE;
  while ((await serialAt(port, starttls)) !== wanted && systemClock.monotonic() < end) await pause(100);
  expect(await serialAt(port, starttls)).toBe(wanted);
}

test("nginx is checked, reloaded, and tells where it serves a certificate", async () => {
  const { issued, pair } = await replaced("vlc-admin");

  const [outcome] = await doConfined(machine, [{ kind: "service", entry: { type: "nginx" }, pair }]);

  expect(outcome).toEqual({ liveness: "up", note: null, probe: "127.0.0.1:443" });
  await untilServed(issued, 443);
});

test("a configuration that nginx refuses is told in its own words", async () => {
  await put(machine, "/etc/nginx/conf.d/broken.conf", "nonsense on;\n");
  const { pair } = await replaced("vlc-admin");

  const [outcome] = await doConfined(machine, [{ kind: "service", entry: { type: "nginx" }, pair }]);

  expect(outcome).toMatchObject({ code: "RELOAD_FAILED" });
  expect(outcome).toHaveProperty("message", expect.stringMatching(/exited with 1: .*unknown directive "nonsense"/));
  await machine.sh("rm /etc/nginx/conf.d/broken.conf");
});

test("a unit that cannot be reloaded is told as that before it is tried", async () => {
  await put(machine, "/etc/systemd/system/deaf.service", "[Service]\nExecStart=/bin/sleep infinity\n");
  await machine.sh("systemctl daemon-reload && systemctl start deaf");
  const { pair } = await replaced("vlc-admin");
  const entry = { type: "systemd", unit: "deaf" };

  const [outcome] = await doConfined(machine, [{ kind: "service", entry, pair }]);

  expect(outcome).toMatchObject({
    code: "RELOAD_FAILED",
    message: "Cannot reload deaf: deaf.service has no ExecReload=",
  });
  expect(await machine.sh("systemctl is-active deaf")).toBe("active");
});

const SECOND_NGINX = `[Service]
Type=forking
PIDFile=/run/nginx-two.pid
ExecStart=/usr/sbin/nginx -c /etc/nginx/two.conf
ExecReload=/usr/sbin/nginx -c /etc/nginx/two.conf -s reload
`;

test("a second nginx is checked and looked at by the configuration that its unit starts it with", async () => {
  const site = await machine.sh("cat /etc/nginx/conf.d/vlc-admin.conf");
  const two = `pid /run/nginx-two.pid; events {} http { ${site.replace("127.0.0.1:443", "127.0.0.1:1443")} }`;
  await put(machine, "/etc/nginx/two.conf", two);
  await put(machine, "/run/systemd/system/nginx-two.service", SECOND_NGINX);
  await machine.sh("systemctl daemon-reload; systemctl start nginx-two");
  const { issued, pair } = await replaced("vlc-admin");
  const task = { kind: "service", entry: { type: "nginx", unit: "nginx-two" }, pair } as const;

  expect(await doConfined(machine, [task])).toEqual([{ liveness: "up", note: null, probe: "127.0.0.1:1443" }]);
  await untilServed(issued, 1443);
  await put(machine, "/etc/nginx/two.conf", "nonsense on;");
  const message = expect.stringMatching(
    /"\/usr\/sbin\/nginx -c \/etc\/nginx\/two.conf -t" exited with 1: .*"nonsense"/,
  );
  expect(await doConfined(machine, [task])).toMatchObject([{ code: "RELOAD_FAILED", message }]);
});

test("PostgreSQL is reloaded, and its address found", async () => {
  const { issued, pair } = await replaced("postgres");

  const [outcome] = await doConfined(machine, [{ kind: "service", entry: { type: "postgresql" }, pair }]);

  expect(outcome).toEqual({ liveness: "unknown", note: null, probe: "localhost:5432" });
  await untilServed(issued, 5432, "-starttls postgres");
});

const password = { file: "/etc/certagent/redis-password" };

test.for([
  ["by its socket", { type: "redis", socket: "/run/redis/redis-server.sock", password }],
  ["by TLS over the loopback", { type: "redis", connect: "127.0.0.1:6380", tls: true, password }],
  ["by TLS at a name", { type: "redis", connect: "localhost:6380", tls: true, password }],
] as const)("Redis takes a new pair %s", async ([, entry]) => {
  const { issued, pair } = await replaced("redis");

  const [outcome] = await doConfined(machine, [{ kind: "service", entry, pair }]);

  expect(outcome).toMatchObject({ liveness: "up", note: null });
  const wanted = `serial=${issued.leaf.serial.toLowerCase()}`;
  const ask = `openssl s_client -connect 127.0.0.1:6380 -cert ${pair.certificatePath} -key ${pair.keyPath} < /dev/null 2> /dev/null`;
  expect((await machine.sh(`${ask} | openssl x509 -noout -serial`)).toLowerCase()).toBe(wanted);
});

test("a port is told as open, closed, or unknown to this host", async () => {
  const outcomes = await doConfined(machine, [
    { kind: "connect", to: { host: "127.0.0.1", port: 9100 } },
    { kind: "connect", to: { host: "::1", port: 5432 } },
    { kind: "connect", to: { host: "127.0.0.1", port: 1 } },
    { kind: "connect", to: { host: "nobody.invalid", port: 1 } },
  ]);

  expect(outcomes).toMatchObject([
    "connected",
    "connected",
    { code: "SERVICE_DOWN", message: "Cannot connect to 127.0.0.1:1: connection refused" },
    { code: "SERVICE_DOWN", message: expect.stringMatching(/^Cannot connect to nobody.invalid:1: /) },
  ]);
  expect(
    await machine.sh("systemctl list-units --all --plain --no-legend 'certagent-relay-*'; ls /run/certagent/output"),
  ).toBe("");
});

/** As units of servers that keep secrets have it: more starts within a minute than this are refused. */
const RARELY_STARTED =
  "[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=60\n[Service]\nExecStart=/bin/sleep infinity\n";

test("a unit is restarted though it was started as often as it may be", async () => {
  await put(machine, "/run/systemd/system/rare.service", RARELY_STARTED);
  await machine.sh("systemctl daemon-reload; systemctl start rare; systemctl restart rare");
  const { pair } = await replaced("postgres");
  const entry = { type: "systemd", unit: "rare", action: "restart" };

  const [outcome] = await doConfined(machine, [{ kind: "service", entry, pair }]);

  expect(outcome).toMatchObject({ liveness: "up", note: null });
  expect(await machine.sh("systemctl is-active rare")).toBe("active");
});
