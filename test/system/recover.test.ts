/** A power cut between the two renames of a new key: a service that starts at the next boot finds one whole pair. */
import { expect, inject, test } from "vitest";
import { startCa } from "./ca.ts";
import { execute } from "./execute.ts";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

const CERTIFICATE = "/etc/web/server.crt";
const KEY = "/etc/web/server.key";

/** A service that does not start with a pair that is none; it is ordered as any other, and knows nothing of certagent. */
const WEB = `[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -euc '\\
  openssl x509 -in ${CERTIFICATE} -noout -pubkey > /run/web-certificate; \\
  openssl pkey -in ${KEY} -pubout > /run/web-key; \\
  cmp /run/web-certificate /run/web-key'
[Install]
WantedBy=multi-user.target
`;

const SPEC = `subject: web.internal
key: { rotate: true }
outputs:
  - { format: fullchain, path: ${CERTIFICATE} }
  - { format: key, path: ${KEY} }
`;

const PAIR = `[ "$(openssl x509 -in ${CERTIFICATE} -noout -pubkey)" = "$(openssl pkey -in ${KEY} -pubout)" ]`;

async function makeWeb(machine: Machine): Promise<void> {
  await machine.boot();
  const ca = await startCa(machine);
  const { root } = ca.pki;
  await put(machine, "/etc/certagent/root_ca.crt", root.certificate.pem);
  await put(machine, "/etc/certagent/password", `${ca.provisioner.password}\n`, "0640", "root:certagent");
  const provisioner = { type: "jwk", name: "vm-hosts", password: { file: "/etc/certagent/password" } };
  const internal = { type: "step-ca", url: "https://ca.internal:9000", root: { file: "/etc/certagent/root_ca.crt" } };
  const config = { issuers: { internal: { ...internal, provisioner } }, default_issuer: "internal" };
  await put(machine, "/etc/certagent/certagent.yaml", JSON.stringify(config));
  await machine.sh("mkdir /etc/web");
  await put(machine, "/etc/systemd/system/web.service", WEB);
  await put(machine, "/etc/certagent.d/web.yaml", SPEC);
  await machine.sh("systemctl enable web; systemctl start certagent");
  await machine.sh("until certagent status; do sleep 0.5; done");
  await machine.sh("systemctl restart web");
}

/** Has a certificate for a new key issued, and nobody there to deploy it. */
async function issueAnother(machine: Machine): Promise<void> {
  await machine.sh(`
    systemctl stop certagent-apply.timer certagent-apply.path certagent-apply.service
    systemctl kill --signal=HUP --kill-whom=main certagent
    until [ "$(ls /var/lib/certagent/agent/generations/web | grep -c "^[0-9]*\\.json$")" = 2 ]; do sleep 0.1; done`);
}

/** Has the root side killed as it asks for the k-th rename of its work; with one thread for files it knows an order. */
async function applyAndDieAtRename(machine: Machine, k: number): Promise<void> {
  const renames = "rename,renameat,renameat2";
  const inject = ["-e", `trace=${renames}`, "-e", `inject=${renames}:signal=KILL:when=${k}`];
  const enter = ["nsenter", "--target", String(machine.init), "--all", "--"];
  const apply = ["env", "UV_THREADPOOL_SIZE=1", "certagent", "apply", "web"];
  await execute("strace", ["-f", "-qq", "-o", "/dev/null", ...inject, ...enter, ...apply]).catch(() => undefined);
}

test("a service that starts at boot finds a whole pair, although the power went between the renames of a new key", async () => {
  await using machine = await makeMachine(inject("machines"), inject("layers"));
  await makeWeb(machine);
  await issueAnother(machine);
  // The intent, the key, and there it ends: the certificate still has its old name.
  await applyAndDieAtRename(machine, 3);
  await machine.sh("systemctl disable certagent; systemctl mask certagent-recover");
  await machine.cutPower();
  await machine.boot();
  const without = await machine.sh("systemctl show -P ActiveState web");
  await machine.sh("systemctl unmask certagent-recover");
  await machine.cutPower();
  await machine.boot();

  expect(without).toBe("failed");
  expect(await machine.sh("systemctl show -P ActiveState web")).toBe("active");
  expect((await machine.run(["sh", "-c", PAIR])).code).toBe(0);
  expect(await machine.sh("systemctl show -P ActiveState certagent certagent-apply.path")).toBe("inactive\n\ninactive");
  expect(await machine.sh("systemctl show -P Result certagent-recover; ls /var/lib/certagent/apply/intents")).toBe(
    "success",
  );
});
