/** `docs/migrate-from-step-timers.md`, its commands as they stand, on a host that renewed with the real `step ca renew`. */
import { readFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { pause } from "../../../src/base/time.ts";
import type { StatusDocument } from "../../../src/core/status-document.ts";
import { freePort } from "../../servers/daemon.ts";
import { blocksOf } from "../../servers/documents.ts";
import { type Host, startHost } from "../../servers/host.ts";
import { type StepCa, startStepCa } from "../../servers/step-ca.ts";

const PAIR = "/etc/step/certs/nginx.crt /etc/step/certs/nginx.key";
const SERIAL = "openssl x509 -in /etc/step/certs/nginx.crt -noout -serial";
const KEY = "openssl pkey -in /etc/step/certs/nginx.key -pubout";

/** A host with a pair that `step` minted once, and nginx that serves it. */
async function hostWithStep(ca: StepCa): Promise<Host> {
  const host = await startHost();
  const token = await ca.token("web.internal", ["web.internal", "www.web.internal"]);
  await host.done(`mkdir -p /etc/step/certs
    step ca bootstrap --ca-url ${ca.url} --fingerprint ${ca.root.fingerprint}
    step ca certificate web.internal ${PAIR} --token '${token}'`);
  const port = await freePort();
  const [certificate, key] = PAIR.split(" ");
  await host.write(
    "/etc/nginx/conf.d/web.conf",
    `server { listen 127.0.0.1:${port} ssl; server_name web.internal; ssl_certificate ${certificate}; ssl_certificate_key ${key}; }`,
  );
  await host.done("nginx 2>/dev/null");
  await host.write("/usr/local/bin/journalctl", "#!/bin/sh\ngrep nginx /run/agent.log\n", "0755");
  return host;
}

async function statusOf(host: Host): Promise<StatusDocument["certificates"][number] | undefined> {
  const { stdout } = await host.run("certagent status nginx --json");
  return stdout === "" ? undefined : (JSON.parse(stdout) as StatusDocument).certificates[0];
}

async function until(host: Host, state: string): Promise<void> {
  for (let tries = 0; (await statusOf(host))?.state !== state; tries++) {
    if (tries === 600) throw new Error(`never ${state}:\n${await host.done("certagent status; cat /run/agent.log")}`);
    await pause(200);
  }
}

test("a pair that step renewed goes over to certagent without a secret, and back", async () => {
  await using ca = await startStepCa();
  await using host = await hostWithStep(ca);
  const page = (await readFile("docs/migrate-from-step-timers.md", "utf8"))
    .replaceAll("https://ca.internal:9000", ca.url)
    .replaceAll(/\b[0-9a-f]{64}\b/g, ca.root.fingerprint)
    .replaceAll("/usr/bin/step ", "step ")
    .replaceAll("%i", "nginx")
    // Without systemd; the page's own line is tried where it runs, in test/system.
    .replace("- { type: nginx }", "- { type: nginx, reload: [/usr/sbin/nginx, -s, reload] }");
  const [unit = ""] = blocksOf("ini", page);
  const [configuration = "", spec = ""] = blocksOf("yaml", page);
  const [trust = "", look = "", plan = "", change = "", see = "", renew = "", tidy = "", back = "", token = ""] =
    blocksOf("sh", page);
  const [, renewByStep = ""] = /^ExecStart=(.*)$/m.exec(unit) ?? [];
  const renewals = (): number => ca.requests().filter((path) => path === "/renew").length;
  const mints = (): number => ca.requests().filter((path) => path === "/sign").length;

  await host.done(`${renewByStep} && nginx -s reload`);
  const [serial, key] = [await host.done(SERIAL), await host.done(KEY)];
  expect([mints(), renewals()]).toEqual([1, 1]);

  await host.done(trust);
  await host.write("/etc/certagent/certagent.yaml", configuration);
  expect(await host.done(look)).toMatch(
    /CN = web\.internal\n[^]*DNS:web\.internal, DNS:www\.web\.internal\n[^]*mode 0600\n$/,
  );
  await host.write("/etc/certagent.d/nginx.yaml", spec.replace("www.web", "other.web"));
  expect(await host.done(plan)).toMatch(/\b0 problems\b[^]*\nnginx: adopt now/);
  await host.done(change);
  expect(await host.asked()).toEqual(["disable --now step@nginx.timer", "enable --now certagent"]);

  await host.done("certagent run >/run/agent.log 2>&1 </dev/null &");
  await until(host, "failing");
  expect(await host.done("cat /run/agent.log")).toMatch(
    /the pair at the outputs does not fit the spec .*also names www\.web\.internal/,
  );
  expect(await host.done(SERIAL)).toBe(serial);
  await host.write("/etc/certagent.d/nginx.yaml", spec);

  await until(host, "current");
  const seen = await host.done(see);
  expect(seen).toMatch(/^nginx +current +yes /m);
  expect(seen).toContain("adopted");
  expect([await host.done(SERIAL), await host.done(KEY)]).toEqual([serial, key]);
  expect([mints(), renewals()]).toEqual([1, 1]);

  await host.done(renew);
  await until(host, "current");
  expect(await host.done(SERIAL)).not.toBe(serial);
  expect(await host.done(KEY)).toBe(key);
  expect([mints(), renewals()]).toEqual([1, 2]);
  await host.done(`touch /etc/systemd/system/step@.service /etc/systemd/system/step@.timer\n${tidy}`);

  await host.done(back);
  expect((await host.asked()).slice(-2)).toEqual(["disable --now certagent", "enable --now step@nginx.timer"]);
  await host.done(renewByStep);
  expect([mints(), renewals()]).toEqual([1, 3]);

  await host.write("/run/password", ca.provisioner.password);
  expect(await host.done(`${token.trim()} --provisioner-password-file /run/password`)).toMatch(/^eyJ/);
});
