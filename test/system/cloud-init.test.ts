/** The sample of cloud-init with a real cloud-init, apt and step-ca, on Debian 13: from the first boot on. */
import { createHash } from "node:crypto";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { MINUTE } from "../../src/base/time.ts";
import { toolPath } from "../servers/tools.ts";
import { type MachineCa, startCa } from "./ca.ts";
import { execute } from "./execute.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

let machine: Machine;
let ca: MachineCa;
let token: string;

/** What the image of a cloud is, and the sample is silent about: whence user data and packages come, and that no sshd is there. */
const SITE = `datasource_list: [NoCloud]
apt: { preserve_sources_list: true }
ssh_genkeytypes: []
`;

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("newer"));
  const config = await readFile("config/cloud-init.yaml", "utf8");
  // As the image: booted once with all but certagent, and cloud-init left alone.
  await writeFile(machine.file("/etc/cloud/cloud-init.disabled"), "");
  for (const tool of ["step-ca", "step"] as const) {
    await copyFile(toolPath(tool), machine.file(`/usr/local/bin/${tool}`));
  }
  await machine.boot();
  ca = await startCa(machine);
  // A CA refuses tokens that are older than its process: that of a fleet does not start with each VM.
  await machine.sh(`sed -i 's/"authority":{/&"disableIssuedAtCheck":true,/' /etc/step-ca/ca.json`);
  await putRepository();
  await put(machine, "/etc/cloud/cloud.cfg.d/99-site.cfg", SITE);
  token = await makeToken(config);
  const { fingerprint } = ca.pki.root.certificate;
  const userData = config.replaceAll(/\b[0-9a-f]{64}\b/g, fingerprint).replaceAll(/eyJ\S+…/g, token);
  await put(machine, "/var/lib/cloud/seed/nocloud/user-data", userData, "0600");
  await put(machine, "/var/lib/cloud/seed/nocloud/meta-data", "instance-id: vm-1\nlocal-hostname: web1\n");
  await machine.sh("systemctl enable nginx; rm /etc/cloud/cloud-init.disabled");
  await machine.powerOff();
  await machine.boot();
});
afterAll(() => machine[Symbol.asyncDispose]());

/** A repository of one package, which is all that apt knows. */
async function putRepository(): Promise<void> {
  const deb = await readFile(inject("deb"));
  await machine.sh("mkdir -p /srv/packages; rm -f /etc/apt/sources.list.d/*");
  await writeFile(machine.file("/srv/packages/certagent.deb"), deb);
  const control = await execute("dpkg-deb", ["--field", inject("deb")]);
  const file = `Filename: ./certagent.deb\nSize: ${deb.length}\nSHA256: ${createHash("sha256").update(deb).digest("hex")}`;
  await put(machine, "/srv/packages/Packages", `${control.trim()}\n${file}\n`);
  await put(machine, "/etc/apt/sources.list", "deb [trusted=yes] file:/srv/packages ./\n");
}

/** By the sample's own line. */
async function makeToken(config: string): Promise<string> {
  const [, line = ""] = /^# {3}(step ca token .*)$/m.exec(config) ?? [];
  await put(machine, "/root/password", ca.provisioner.password, "0600");
  const trust = "--ca-url https://ca.internal:9000 --root /etc/step-ca/root.crt";
  return await machine.sh(`${line} ${trust} --provisioner-password-file /root/password; rm /root/password`);
}

const CURRENT = "until certagent status > /dev/null 2>&1; do sleep 0.2; done";
const SERVED = "openssl s_client -connect 127.0.0.1:443 < /dev/null 2> /dev/null | openssl x509 -noout -serial";
const WRITTEN = "openssl x509 -in /etc/nginx/tls/web.crt -noout -serial";

test("the first boot of a VM ends with a certificate that nginx is proven to serve", async () => {
  const ended = await machine.run(["cloud-init", "status", "--wait", "--long"], { timeout: 3 * MINUTE });

  const log = await machine.sh("tail -n 60 /var/log/cloud-init-output.log");
  expect(ended.code, ended.stdout + log).toBe(0);
  expect(log).toMatch(/^web +current +yes /m);
  await machine.sh(CURRENT);
  expect(await machine.sh(SERVED)).toBe(await machine.sh(WRITTEN));
  expect(Object.fromEntries(await ca.requests())).toMatchObject({ "/sign": 1 });
});

test("the token is nowhere but in what cloud-init keeps of user data, which root alone may read", async () => {
  const elsewhere = "--exclude-dir=proc --exclude-dir=sys --exclude-dir=dev --exclude-dir=step-ca";
  const files = (await machine.sh(`grep -rlsF ${elsewhere} '${token}' /`)).split("\n");

  expect(files.filter((path) => !/^\/(?:var\/lib\/cloud|run\/cloud-init)\//.test(path))).toEqual([]);
  expect(await machine.sh(`find ${files.join(" ")} -perm /077`)).toBe("");
  expect(await machine.sh("ls -A /run/certagent-secrets")).toBe("");
});

test("the unit is of the newer kind where systemd knows it: a reload is over when it is done, restarts become rarer", async () => {
  const facts = await machine.sh("systemctl show -P Type -P RestartSteps -P RestartMaxDelayUSec certagent");
  const before = await machine.sh(WRITTEN);

  await machine.sh("systemctl reload certagent; certagent renew web");

  expect(facts).toBe("notify-reload\n5\n5min");
  await machine.sh(CURRENT);
  expect(await machine.sh(WRITTEN)).not.toBe(before);
  expect(await machine.sh(SERVED)).toBe(await machine.sh(WRITTEN));
  expect(Object.fromEntries(await ca.requests())).toMatchObject({ "/sign": 1 });
  expect(
    await machine.sh(
      "journalctl -b --no-pager -o cat -u init.scope -g '/certagent.*(Unknown|Failed|ignoring)' || true",
    ),
  ).toBe("");
});

test.each([
  ["certagent.service", 13],
  ["certagent-apply.service", 13],
])("%s is exposed no more than %d tenths, as a newer systemd counts", async (unit, threshold) => {
  const { code, stdout } = await machine.run([
    "systemd-analyze",
    "security",
    "--no-pager",
    `--threshold=${threshold}`,
    unit,
  ]);

  expect(code, stdout).toBe(0);
});
