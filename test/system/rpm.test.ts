/**
 * The rpm over its life on one host: installed, upgraded, downgraded, removed, installed again. The host is a Debian, but
 * rpm and systemd are all that the scripts of the package know.
 */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { buildPackages } from "../../scripts/package.ts";
import { toolPath } from "../servers/tools.ts";
import { type MachineCa, startCa } from "./ca.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

let machine: Machine;
let ca: MachineCa;

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("newer"));
  await machine.boot();
  await copyFile(toolPath("step-ca"), machine.file("/usr/local/bin/step-ca"));
  ca = await startCa(machine);
  for (const version of ["0.0.1", "0.1.0"]) {
    const [path = ""] = await buildPackages(join(inject("machines"), `rpm-${version}`), {
      architectures: [process.arch === "arm64" ? "arm64" : "amd64"],
      formats: ["rpm"],
      isQuick: true,
      version,
    });
    await copyFile(path, machine.file(`/root/${version}.rpm`));
  }
  await machine.sh("rpm --initdb");
});
afterAll(() => machine[Symbol.asyncDispose]());

const rpm = (...words: readonly string[]): Promise<string> => machine.sh(`rpm ${words.join(" ")} 2>&1`);
const INSTALL = "--nodeps --nosignature --install";

const FILES = "/etc/web/plain.crt /etc/web/plain.key";
const CURRENT = "until certagent status > /dev/null 2>&1; do sleep 0.2; done";
const pair = (): Promise<string> => machine.sh(`sha256sum ${FILES}`);

async function generation(): Promise<number> {
  await machine.sh(CURRENT);
  const { certificates } = JSON.parse(await machine.sh("certagent status plain --json")) as {
    certificates: { leaf: { generation: number } }[];
  };
  return certificates[0]?.leaf.generation ?? 0;
}

test("installing says what to do next and leaves nothing running, and everything belongs to whom it should", async () => {
  const said = await rpm(INSTALL, "/root/0.0.1.rpm");

  expect(said.split("\n").filter((line) => line.startsWith("certagent:"))).toHaveLength(2);
  expect(said.split("\n").filter((line) => /error|warning|fail/i.test(line))).toEqual([]);
  expect(await machine.sh("systemctl is-enabled certagent certagent-recover")).toBe("enabled\nenabled");
  expect(await machine.sh("systemctl list-units --no-legend --state=active,activating,failed 'certagent*'")).toBe("");
  expect(await rpm("--verify --nodeps certagent")).toBe("");
  expect(await machine.sh("stat -c '%U %a' /var/lib/certagent /var/lib/certagent/agent /run/certagent/requests")).toBe(
    "root 755\ncertagent 700\ncertagent 700",
  );
});

test("configured and started, it does its work, and after a reboot too", async () => {
  await put(machine, "/etc/certagent/root_ca.crt", ca.pki.root.certificate.pem);
  await put(machine, "/etc/certagent/password", ca.provisioner.password, "0640", "root:certagent");
  const provisioner = { type: "jwk", name: "vm-hosts", password: { file: "/etc/certagent/password" } };
  const internal = { type: "step-ca", url: "https://ca.internal:9000", root: { file: "/etc/certagent/root_ca.crt" } };
  const config = { issuers: { internal: { ...internal, provisioner } }, default_issuer: "internal" };
  await put(machine, "/etc/certagent/certagent.yaml", JSON.stringify(config));
  const outputs = [
    { format: "fullchain", path: "/etc/web/plain.crt" },
    { format: "key", path: "/etc/web/plain.key" },
  ];
  await put(machine, "/etc/certagent.d/plain.yaml", JSON.stringify({ subject: "plain.internal", outputs }));

  await machine.sh(`mkdir /etc/web; certagent check; systemctl start certagent; ${CURRENT}`);
  await machine.powerOff();
  await machine.boot();

  expect(await generation()).toBe(1);
});

test.each([
  ["an upgrade", "0.1.0", "--upgrade"],
  ["a downgrade", "0.0.1", "--upgrade --oldpackage"],
])(
  "%s in the middle of a renewal goes on with the new program, and the renewal is not lost",
  async (_, version, how) => {
    const before = await generation();
    const process = await machine.sh("systemctl show -P MainPID certagent");
    await machine.sh("systemctl kill --signal=HUP --kill-whom=main certagent");
    await machine.sh(`until [ -e /var/lib/certagent/agent/generations/plain/${before + 1}.json ]; do sleep 0.02; done`);

    await rpm("--nodeps --nosignature", how, `/root/${version}.rpm`);

    expect(await rpm("--query --queryformat '%{VERSION}' certagent")).toBe(version);
    expect(await generation()).toBeGreaterThan(before);
    expect(await machine.sh("systemctl show -P MainPID certagent")).not.toBe(process);
    expect(await machine.sh("systemctl show -P NRestarts certagent")).toBe("0");
  },
);

test("an upgrade starts nothing that its operator has stopped, and enables nothing that is disabled", async () => {
  await machine.sh("systemctl disable --now certagent");

  await rpm("--nodeps --nosignature --upgrade /root/0.1.0.rpm");

  expect(await machine.sh("systemctl is-active certagent certagent-apply.path || true")).not.toContain("activating");
  expect(await machine.sh("systemctl is-active certagent || true; systemctl is-enabled certagent || true")).toBe(
    "inactive\ndisabled",
  );
});

test("removed, it is gone, and certificates, configuration and state are not; installed again, it goes on where it was", async () => {
  await machine.sh("systemctl enable --now certagent");
  const before = { generation: await generation(), pair: await pair() };
  await rpm("--erase certagent");

  expect(await pair()).toBe(before.pair);
  expect(await machine.sh("pgrep -u certagent || pgrep -f '[c]ertagent.mjs' || true")).toBe("");
  expect(await machine.sh("systemctl list-units --no-legend '*certagent*'")).toBe("");
  expect(await machine.sh("find /etc/systemd/system -name 'certagent*'")).toBe("");
  await machine.sh("test -e /etc/certagent/certagent.yaml; test -e /etc/certagent.d/plain.yaml");

  await rpm(INSTALL, "/root/0.1.0.rpm");
  expect(await generation()).toBe(before.generation);
  expect(await pair()).toBe(before.pair);
});

test("where the host's presets disable it, a new installation starts nothing, configured or not", async () => {
  await rpm("--erase certagent");
  await put(machine, "/etc/systemd/system-preset/00-site.preset", "disable certagent.service\n");

  await rpm(INSTALL, "/root/0.1.0.rpm");

  expect(await machine.sh("systemctl is-active certagent || true; systemctl is-enabled certagent || true")).toBe(
    "inactive\ndisabled",
  );
});
