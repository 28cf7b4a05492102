/** The ways to certagent, word for word: the sample of cloud-init on a bare machine, and the page about step's timers. */
import { copyFile, readFile } from "node:fs/promises";
import { expect, inject, test } from "vitest";
import { cloudInit } from "../servers/cloud-init.ts";
import { blocksOf } from "../servers/documents.ts";
import { toolPath } from "../servers/tools.ts";
import { type MachineCa, startCa } from "./ca.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

/** A booted machine with a CA, on which nothing is of certagent. */
async function bareMachine(): Promise<{ readonly machine: Machine; readonly ca: MachineCa }> {
  const machine = await makeMachine(inject("machines"), inject("layers").slice(-1));
  await machine.boot();
  for (const tool of ["step-ca", "step"] as const) await copyFile(toolPath(tool), machine.file(`/usr/bin/${tool}`));
  await machine.sh("ln -s /usr/bin/step-ca /usr/local/bin/");
  return { machine, ca: await startCa(machine) };
}

async function install(machine: Machine): Promise<void> {
  await copyFile(inject("deb"), machine.file("/var/certagent.deb"));
  await machine.sh("DEBIAN_FRONTEND=noninteractive dpkg --install /var/certagent.deb");
}

/** The commands of a page, with this CA's fingerprint. */
function forCa(text: string, { pki }: MachineCa): string {
  return text.replaceAll(/\b[0-9a-f]{64}\b/g, pki.root.certificate.fingerprint);
}

const STATUS = "certagent status --json || true";
async function untilCurrent(machine: Machine): Promise<unknown> {
  await machine.sh(`until certagent status >/dev/null 2>&1; do sleep 0.2; done`);
  return JSON.parse(await machine.sh(STATUS));
}

test("a bare machine comes to a proven certificate by the sample of cloud-init, and leaves no secret", async () => {
  const { machine, ca } = await bareMachine();
  await using _machine = machine;
  const sample = forCa(await readFile("config/cloud-init.yaml", "utf8"), ca);
  const [, makeToken = ""] = /^# {3}(step ca token .*)$/m.exec(sample) ?? [];
  await put(machine, "/root/password", ca.provisioner.password, "0600");
  const trust = "--ca-url https://ca.internal:9000 --root /etc/step-ca/root.crt";
  const token = await machine.sh(`${makeToken} ${trust} --provisioner-password-file /root/password; rm /root/password`);

  const booted = await cloudInit(sample.replaceAll(/eyJ\S+…/g, token), {
    write: (path, content, mode) => put(machine, path, content, mode),
    install: async () => {
      await install(machine);
      await machine.sh("systemctl enable --now nginx"); // as its package does where it may
    },
    run: (script) => machine.run(["sh", "-c", script]),
  });

  expect(booted.code, booted.stdout + booted.stderr).toBe(0);
  expect(booted.stdout).toMatch(/^web +current +yes /m);
  expect(await untilCurrent(machine)).toMatchObject({ agent: { running: true }, certificates: [{ state: "current" }] });
  expect(await machine.sh("ls -A /run/certagent-secrets")).toBe("");
  expect(await machine.sh("find /var/lib/certagent/agent ! -user certagent")).toBe("");
  expect(
    await machine.sh(
      `! grep -rlF --exclude-dir=step-ca '${token}' /etc /var/lib/certagent /var/log /run /root 2>/dev/null`,
    ),
  ).toBe("");

  await machine.sh("certagent renew web");
  await machine.powerOff();
  await machine.boot();
  await untilCurrent(machine);
  const requests = await ca.requests();
  expect([requests.get("/sign"), requests.get("/renew")]).toEqual([1, 1]);
});

test("a machine goes over from step's timer to certagent and back, as the page says", async () => {
  const { machine, ca } = await bareMachine();
  await using _machine = machine;
  const page = forCa(await readFile("docs/migrate-from-step-timers.md", "utf8"), ca);
  const [unit = ""] = blocksOf("ini", page);
  const [configuration = "", spec = ""] = blocksOf("yaml", page);
  const [trust = "", look = "", plan = "", change = "", see = "", renew = "", tidy = "", back = ""] = blocksOf(
    "sh",
    page,
  );
  const token = await ca.provisioner.token(
    "https://ca.internal:9000",
    "web.internal",
    ["web.internal", "www.web.internal"],
    Date.now(),
  );
  await machine.sh(`
    mkdir -p /etc/step/certs && rm /etc/nginx/sites-enabled/default
    step ca bootstrap --ca-url https://ca.internal:9000 --fingerprint ${ca.pki.root.certificate.fingerprint}
    step ca certificate web.internal /etc/step/certs/nginx.crt /etc/step/certs/nginx.key --token ${token}`);
  const server = `listen 443 ssl; ssl_certificate /etc/step/certs/nginx.crt; ssl_certificate_key /etc/step/certs/nginx.key;`;
  await put(machine, "/etc/nginx/conf.d/web.conf", `server { ${server} }\n`);
  await put(machine, "/etc/systemd/system/step@.service", unit);
  const timer = "[Timer]\nOnCalendar=*:1/5\nPersistent=true\n[Install]\nWantedBy=timers.target\n";
  await put(machine, "/etc/systemd/system/step@.timer", timer);
  await machine.sh("systemctl restart nginx; systemctl enable --now step@nginx.timer");
  const serial = await machine.sh("openssl x509 -in /etc/step/certs/nginx.crt -noout -serial");

  await install(machine);
  await machine.sh(trust);
  await put(machine, "/etc/certagent/certagent.yaml", configuration);
  await machine.sh(look);
  await put(machine, "/etc/certagent.d/nginx.yaml", spec);
  expect(await machine.sh(plan)).toMatch(/\b0 problems\b[^]*\nnginx: adopt now/);
  await machine.sh(change);
  await untilCurrent(machine);
  expect(await machine.sh(see)).toMatch(/^nginx +current +yes [^]*adopted/m);
  expect(await machine.sh("openssl x509 -in /etc/step/certs/nginx.crt -noout -serial")).toBe(serial);

  await machine.sh(renew);
  await untilCurrent(machine);
  const served = "openssl s_client -connect 127.0.0.1:443 </dev/null 2>/dev/null | openssl x509 -noout -serial";
  expect(await machine.sh(served)).toBe(await machine.sh("openssl x509 -in /etc/step/certs/nginx.crt -noout -serial"));
  expect(await machine.sh(served)).not.toBe(serial);

  await machine.sh(back);
  await machine.sh("step ca renew --force /etc/step/certs/nginx.crt /etc/step/certs/nginx.key");
  await machine.sh(tidy);
  const requests = await ca.requests();
  expect([requests.get("/sign"), requests.get("/renew")]).toEqual([1, 2]);
});

test("a name that DNS alone knows is the same on both sides, of which one has no network", async () => {
  await using machine = await makeMachine(inject("machines"), inject("layers"));
  await machine.boot();
  const ca = await startCa(machine);
  const { fingerprint } = ca.pki.root.certificate;
  const server = `import("/root/dns.ts").then((dns) => dns.startNameServer(["vm.corp.example"], { address: "127.0.0.53" }))`;
  await put(machine, "/root/dns.ts", await readFile("test/servers/dns.ts", "utf8"));
  await machine.run(["systemd-run", "--unit=dns", "/usr/lib/certagent/node", "--eval", server]);
  await put(machine, "/etc/resolv.conf", "nameserver 127.0.0.53\nsearch corp.example\n");
  await machine.sh("until hostname --fqdn; do sleep 0.2; done");

  const [configuration = ""] = blocksOf("yaml", await readFile("docs/migrate-from-step-timers.md", "utf8"));
  const secret = "token: { file: /run/certagent-secrets/token, delete_after_use: true }";
  await put(machine, "/etc/certagent/certagent.yaml", configuration.replace(/password:.*/, secret));
  await machine.sh(`certagent bootstrap --ca-url https://ca.internal:9000 --fingerprint ${fingerprint}`);
  const outputs = ["fullchain", "key"].map((format) => ({ format, path: `/etc/ssl/\${fqdn}.${format}` }));
  await put(machine, "/etc/certagent.d/host.yaml", JSON.stringify({ subject: "${fqdn}", outputs }));
  const { provisioner } = ca;
  const names = ["vm.corp.example"] as const;
  const token = await provisioner.token("https://ca.internal:9000", names[0], names, Date.now());
  await put(machine, "/run/certagent-secrets/token", token, "0400", "certagent");
  await machine.sh("systemctl start certagent");

  await untilCurrent(machine);
  expect(await machine.sh("openssl x509 -in /etc/ssl/vm.corp.example.fullchain -noout -subject -nameopt RFC2253")).toBe(
    "subject=CN=vm.corp.example",
  );
});
