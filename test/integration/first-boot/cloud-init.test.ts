/** `config/cloud-init.yaml` as it stands, done to a host as cloud-init does it, with a real step-ca and a real nginx. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { cloudInit } from "../../servers/cloud-init.ts";
import { freePort } from "../../servers/daemon.ts";
import { blocksOf } from "../../servers/documents.ts";
import { type Host, startHost } from "../../servers/host.ts";
import { type StepCa, startStepCa } from "../../servers/step-ca.ts";

/** A token as the sample's first lines have it made, where the provisioner's password is. */
async function tokenFrom(host: Host, ca: StepCa, sample: string): Promise<string> {
  const [, command = ""] = /^# {3}(step ca token .*)$/m.exec(sample) ?? [];
  await host.write("/root/password", ca.provisioner.password);
  const toCa = `--ca-url ${ca.url} --root ${ca.rootFile} --provisioner-password-file /root/password`;
  return (await host.done(`${command} ${toCa} && rm /root/password`)).trim();
}

/** The sample with what it says is to be replaced. */
async function userDataFor(host: Host, ca: StepCa): Promise<{ readonly token: string; readonly text: string }> {
  const sample = await readFile("config/cloud-init.yaml", "utf8");
  const token = await tokenFrom(host, ca, sample);
  const text = sample
    .replaceAll("https://ca.internal:9000", ca.url)
    .replaceAll(/\b[0-9a-f]{64}\b/g, ca.root.fingerprint)
    .replaceAll(/eyJ\S+…/g, token)
    .replaceAll(/\b443\b/g, String(await freePort()))
    // Without systemd; the sample's own lines are tried where it runs, in test/system.
    .replace(/^( +)- type: nginx$/m, "$&\n$1  reload: [/usr/sbin/nginx, -s, reload]");
  return { token, text };
}

const keyId = "openssl pkey -in /etc/nginx/tls/web.key -pubout";

test("a bare VM comes to a proven certificate by a token, and then nothing on it can mint", async () => {
  await using ca = await startStepCa();
  await using host = await startHost();
  const { token, text } = await userDataFor(host, ca);

  const { code, stdout, stderr } = await cloudInit(text, host);

  expect(code, stdout + stderr).toBe(0);
  expect(stderr).toContain("issued certificate=web ");
  expect(await host.done("ls /run/certagent-secrets")).toBe("");
  expect(await host.done("find /var/lib/certagent/agent ! -user certagent")).toBe("");
  expect(await host.asked()).toEqual(["stop certagent", "start certagent"]);

  // nginx comes up with what was placed, and is seen to serve it.
  await host.done("nginx 2>/dev/null && certagent once web");
  const [web] = JSON.parse(await host.done("certagent status --json 2>/dev/null")).certificates;
  expect(web).toMatchObject({ name: "web", state: "current", failure: null, services: [{ state: "proven" }] });
  expect(await host.done(`stat -c '%U %a' /etc/nginx/tls/web.key /etc/nginx/tls/web.crt`)).toBe("root 600\nroot 644\n");

  expect((await host.run(`grep -rlF '${token}' /etc /var/lib/certagent /run /root`)).stdout).toBe("");
  const again = `step ca certificate web1.internal /root/x.crt /root/x.key --token '${token}' --ca-url ${ca.url} --root ${ca.rootFile}`;
  expect((await host.run(again)).code).not.toBe(0);
  expect(ca.refusals().join()).toContain("token already used");
});

test("what was sealed as an image holds no key, and a host of it comes to one of its own by a token", async () => {
  await using ca = await startStepCa();
  await using host = await startHost();
  const { text } = await userDataFor(host, ca);
  await cloudInit(text, host);
  const key = await host.done(keyId);
  const [seal = "", look = ""] = blocksOf("sh", await readFile("config/image.md", "utf8"));

  await host.done(seal);

  expect(await host.done("ls -A /var/lib/certagent; ls -A /run/certagent-secrets")).toBe("");
  expect((await host.run(look)).stdout).not.toMatch(/certagent|nginx/);

  await host.install();
  const token = await tokenFrom(host, ca, text);
  await host.write("/run/certagent-secrets/token", token, "0600");
  await host.done("chown certagent /run/certagent-secrets/token; certagent once web");
  expect(await host.done(keyId)).not.toBe(key);
});
