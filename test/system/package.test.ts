/** The Debian package over its life on one host: installed, upgraded, downgraded, removed, installed again, purged. */
import { cp, mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type MachineCa, startCa } from "./ca.ts";
import { execute } from "./execute.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

let machine: Machine;
let ca: MachineCa;

const FILES = ["/etc/web/plain.crt", "/etc/web/plain.key", "/etc/web/linked.crt", "/etc/web/linked.key"];

beforeAll(async () => {
  // Debian alone.
  machine = await makeMachine(inject("machines"), inject("layers").slice(-1));
  await machine.boot();
  await cp(join(inject("layers")[0] ?? "", "usr/local/bin"), machine.file("/usr/local/bin"), { recursive: true });
  ca = await startCa(machine);
  await cp(inject("deb"), machine.file("/root/new.deb"));
  await makeOlder();
});
afterAll(() => machine[Symbol.asyncDispose]());

/** The same package with a version before, from when the agent's folders in /run had no file systems of their own. */
async function makeOlder(): Promise<void> {
  await using work = await mkdtempDisposable(join(inject("machines"), "older-"));
  const tree = join(work.path, "tree");
  await execute("dpkg-deb", ["--raw-extract", inject("deb"), tree]);
  const control = join(tree, "DEBIAN", "control");
  await writeFile(control, (await readFile(control, "utf8")).replace(/^Version: .*$/m, "Version: 0.0.1"));
  const units = join(tree, "usr/lib/systemd/system");
  await execute("sh", [
    "-euc",
    `cd ${units}; rm *.mount; sed -i '/^RequiresMountsFor=.run/d; /^ExecStartPre=/d' certagent*.path certagent*.service`,
  ]);
  await execute("dpkg-deb", ["-Znone", "--build", tree, join(work.path, "old.deb")]);
  await cp(join(work.path, "old.deb"), machine.file("/root/old.deb"));
}

const dpkg = (...words: readonly string[]): Promise<string> =>
  machine.sh(`DEBIAN_FRONTEND=noninteractive dpkg ${words.join(" ")} 2>&1`);

const FILE_SYSTEMS = "for name in requests control; do findmnt --noheadings --output FSTYPE /run/certagent/$name; done";

const CURRENT = "until certagent status > /dev/null; do sleep 0.2; done";

async function generation(): Promise<number> {
  await machine.sh(CURRENT);
  const { certificates } = JSON.parse(await machine.sh("certagent status plain --json")) as {
    certificates: { leaf: { generation: number } }[];
  };
  return certificates[0]?.leaf.generation ?? 0;
}

const pairs = (): Promise<string> => machine.sh(`cat ${FILES.join(" ")} | sha256sum`);

test("installing starts nothing, and says what to do next in two lines", async () => {
  const said = await dpkg("--install", "/root/old.deb");

  expect(said.split("\n").filter((line) => line.startsWith("certagent:"))).toHaveLength(2);
  expect(await machine.sh("systemctl is-enabled certagent")).toBe("enabled");
  expect(await machine.sh("systemctl list-units --no-legend --state=active,activating,failed 'certagent*'")).toBe("");
  expect(await machine.sh("stat -c '%U %a' /var/lib/certagent /var/lib/certagent/agent /run/certagent/requests")).toBe(
    "root 755\ncertagent 700\ncertagent 700",
  );
});

test("where /proc is missing, as where an image is made, it is installed all the same", async () => {
  await machine.sh("unshare --mount sh -ec 'umount --lazy /proc; dpkg --install /root/old.deb'");

  expect(await machine.sh("dpkg-query --show --showformat '${db:Status-Abbrev}' certagent")).toBe("ii");
});

test("configured and started, it does its work, and after a reboot too", async () => {
  const { root } = ca.pki;
  await put(machine, "/etc/certagent/root_ca.crt", root.certificate.pem);
  await put(machine, "/etc/certagent/password", ca.provisioner.password, "0640", "root:certagent");
  const provisioner = { type: "jwk", name: "vm-hosts", password: { file: "/etc/certagent/password" } };
  const internal = { type: "step-ca", url: "https://ca.internal:9000", root: { file: "/etc/certagent/root_ca.crt" } };
  const config = { issuers: { internal: { ...internal, provisioner } }, default_issuer: "internal" };
  await put(machine, "/etc/certagent/certagent.yaml", JSON.stringify(config));
  await machine.sh("mkdir /etc/web");
  for (const [name, layout] of [
    ["plain", "files"],
    ["linked", "link"],
  ] as const) {
    const outputs = [
      { format: "fullchain", path: `/etc/web/${name}.crt` },
      { format: "key", path: `/etc/web/${name}.key` },
    ];
    await put(
      machine,
      `/etc/certagent.d/${name}.yaml`,
      JSON.stringify({ subject: `${name}.internal`, layout, outputs }),
    );
  }

  await machine.sh(`certagent check; systemctl start certagent; ${CURRENT}`);
  await machine.powerOff();
  await machine.boot();

  expect(await generation()).toBe(1);
});

test("disabled, nothing is left that still starts things; enabled again, it goes on where it was", async () => {
  await machine.sh("systemctl disable --now certagent");
  await machine.sh(`until [ "$(systemctl show -P ActiveState certagent-apply)" = inactive ]; do sleep 0.2; done`);

  expect(await machine.sh("systemctl list-units --no-legend --state=active,activating,failed 'certagent*'")).toBe("");

  await machine.sh("systemctl enable --now certagent");
  expect(await generation()).toBe(1);
});

test.each([
  ["an upgrade", "/root/new.deb"],
  ["a downgrade", "/root/old.deb"],
])("%s in the middle of a renewal goes on with the new program, and the renewal is not lost", async (_, deb) => {
  const before = await generation();
  const process = await machine.sh("systemctl show -P MainPID certagent");
  await machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
  await machine.sh(`until [ -e /var/lib/certagent/agent/generations/plain/${before + 1}.json ]; do sleep 0.02; done`);

  await dpkg("--install", deb);

  expect(await generation()).toBeGreaterThan(before);
  expect(await machine.sh("systemctl show -P MainPID certagent")).not.toBe(process);
  expect(await machine.sh("systemctl show -P NRestarts certagent")).toBe("0");
  expect(await machine.sh(FILE_SYSTEMS)).toBe("tmpfs\ntmpfs");
});

test("removed, it is gone, and certificates, configuration and state are not; installed again, it goes on where it was", async () => {
  const before = { pairs: await pairs(), generation: await generation() };
  await dpkg("--remove", "certagent");
  const left = await pairs();

  expect(left).toBe(before.pairs);
  expect(await machine.sh("pgrep -u certagent || pgrep -f '[c]ertagent.mjs' || true")).toBe("");
  expect(await machine.sh("systemctl list-units --no-legend '*certagent*'")).toBe("");
  expect(await machine.sh(`${FILE_SYSTEMS} || true`)).toBe("");
  await machine.sh("test -e /etc/certagent/certagent.yaml; test -e /etc/certagent.d/plain.yaml");

  await dpkg("--install", "/root/new.deb");
  expect(await generation()).toBe(before.generation);
  expect(await pairs()).toBe(before.pairs);
});

test("where the agent's user has another number, as on a host that a backup was put back on, it goes on where it was", async () => {
  const before = { pairs: await pairs(), generation: await generation() };
  await dpkg("--remove", "certagent");
  await machine.sh("userdel certagent; useradd --system --user-group elder");

  await dpkg("--install", "/root/new.deb");

  expect(await generation()).toBe(before.generation);
  expect(await pairs()).toBe(before.pairs);
  expect(await machine.sh("certagent renew plain")).toMatch(/renewed/);
});

test("purged, its state and its user are gone, and no deployed certificate is", async () => {
  const before = await pairs();
  await dpkg("--purge", "certagent");

  expect(await pairs()).toBe(before);
  expect(await machine.sh("ls /var/lib/certagent; getent passwd certagent || true; ls -d /run/certagent || true")).toBe(
    "live",
  );
});
