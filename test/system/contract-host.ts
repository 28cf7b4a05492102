/** The contract's host: its configuration and specs as they stand, the servers that they are for, and a CA. */
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { MINUTE, pause, systemClock } from "../../src/base/time.ts";
import { askStatus } from "../../src/cli/control-client.ts";
import type { CertificateStatus, StatusDocument } from "../../src/core/status-document.ts";
import { makePki } from "../servers/pki.ts";
import { type MachineCa, startCa } from "./ca.ts";
import type { Machine } from "./machine.ts";
import { put } from "./put.ts";
import { PAIRS, REDIS_PASSWORD, startServices } from "./services.ts";

const CONTRACT = join(import.meta.dirname, "..", "contract");

/** Gives the service its secret. */
export const CREDENTIAL = "/etc/systemd/system/certagent.service.d/credential.conf";

/** Those whose kinds there are. */
export const FIVE = ["host", "node-exporter", "postgres", "redis", "vlc-admin"] as const;

/** The machine's full name, which the specs that a fleet shares are filled with. */
export const FQDN = "vm.internal";

export type Certificates = ReadonlyMap<string, CertificateStatus>;

export interface ContractHost extends AsyncDisposable {
  readonly machine: Machine;
  readonly ca: MachineCa;
  status(): Promise<StatusDocument>;
  /** Asks until the condition holds. Throws with the status and the journal where it never does. */
  until(what: string, holds: (certificates: Certificates) => boolean): Promise<Certificates>;
}

/** The files of each spec: certificate, then key. */
export const FILES: Readonly<Record<(typeof FIVE)[number], readonly [certificate: string, key: string]>> = {
  host: [`/etc/pki/tls/misc/${FQDN}.pem`, `/etc/pki/tls/private/${FQDN}.pem`],
  ...PAIRS,
};

/** No machine is so busy that this is not a failure. */
const PATIENCE = 4 * MINUTE;

/** Boots a machine and puts everything on it; certagent is installed and configured, has its secret, and is not started. */
export async function makeContractHost(off: Machine): Promise<ContractHost> {
  await using stack = new AsyncDisposableStack();
  const machine = stack.use(off);
  await machine.boot();
  await machine.sh(`echo "127.0.1.1 ${FQDN} vm" >> /etc/hosts`);
  const ca = await startCa(machine);
  const old = await (await makePki("Before")).issue({ names: ["old.internal"] });
  await startServices(machine, old, ca.pki.root.certificate.pem);
  await configure(machine, ca);
  const status = async (): Promise<StatusDocument> => {
    const document = await askStatus(machine.file("/run/certagent/control"), []);
    if (document === undefined) throw new Error(`no agent answers:\n${await journalOf(machine)}`);
    return document;
  };
  const all = stack.move();
  return {
    machine,
    ca,
    status,
    until: async (what, holds) => {
      const end = systemClock.monotonic() + PATIENCE;
      for (;;) {
        const document = await askStatus(machine.file("/run/certagent/control"), []).catch(() => undefined);
        const byName = new Map(document?.certificates.map((one) => [one.name, one]));
        if (byName.size > 0 && holds(byName)) return byName;
        if (systemClock.monotonic() > end) {
          throw new Error(`never happened: ${what}\n${explain([...byName.values()])}\n${await journalOf(machine)}`);
        }
        await pause(200);
      }
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

/** Host configuration and specs of the contract, word for word but for the fingerprint of the CA's root. */
async function configure(machine: Machine, { pki, provisioner }: MachineCa): Promise<void> {
  const root = pki.root.certificate;
  const fingerprint = createHash("sha256").update(root.der).digest("hex");
  const config = await readFile(join(CONTRACT, "certagent.yaml"), "utf8");
  await put(machine, "/etc/certagent/certagent.yaml", config.replace(/(?<=fingerprint: )[0-9a-f]{64}/, fingerprint));
  await put(machine, "/etc/certagent/root_ca.crt", root.pem);
  await put(machine, "/etc/certagent/redis-password", `${REDIS_PASSWORD}\n`, "0600");
  for (const name of FIVE) {
    await put(
      machine,
      `/etc/certagent.d/${name}.yaml`,
      await readFile(join(CONTRACT, "specs", `${name}.yaml`), "utf8"),
    );
  }
  await giveCredential(machine, provisioner.password);
}

/** The drop-in that `certagent --help` names, with the provisioner's password encrypted for this host. */
async function giveCredential(machine: Machine, password: string): Promise<void> {
  const encrypt = "systemd-creds encrypt --with-key=host --name=provisioner-password --pretty - -";
  const setting = await machine.sh(encrypt, { input: `${password}\n` });
  await put(machine, CREDENTIAL, `[Service]\n${setting}\n`);
  await machine.sh("systemctl daemon-reload");
}

function explain(certificates: readonly CertificateStatus[]): string {
  return certificates
    .map(({ name, state, because, next, failure }) => JSON.stringify({ name, state, because, next, failure }))
    .join("\n");
}

/** The whole story, as its operators read it. */
export function journalOf(machine: Machine, ...options: readonly string[]): Promise<string> {
  const units = ["-u", "certagent", "-u", "certagent-apply", "-u", "certagent-apply.path", "-u", "certagent-recover"];
  return machine.run(["journalctl", "--no-pager", "-n", "120", ...units, ...options]).then(({ stdout }) => stdout);
}
