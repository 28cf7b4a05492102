/** A real step-ca inside a machine, in a unit and under a user of its own, at the name and port that the contract gives. */
import { makeProvisioner, type Provisioner } from "../../src/devca/provisioner.ts";
import { makePki, type Pki } from "../servers/pki.ts";
import type { Machine } from "./machine.ts";
import { put } from "./put.ts";

/** Random enough to be looked for where it must not be. */
const PASSWORD = "walrus-canary-5d20ab41";

export interface MachineCa {
  readonly pki: Pki;
  readonly provisioner: Provisioner;
  /** How often it was asked for each path since it was first started. */
  requests(): Promise<ReadonlyMap<string, number>>;
}

const UNIT = `[Unit]
Description=step-ca
[Service]
User=step
ExecStart=/usr/local/bin/step-ca /etc/step-ca/ca.json
Restart=always
[Install]
WantedBy=multi-user.target
`;

/** Starts it, now and at each boot. */
export async function startCa(machine: Machine): Promise<MachineCa> {
  const pki = await makePki("Machine");
  const provisioner = await makeProvisioner("vm-hosts", PASSWORD, 600_000);
  await machine.sh("useradd --system step");
  const own = (name: string, text: string): Promise<void> =>
    put(machine, `/etc/step-ca/${name}`, text, "0600", "step:step");
  await own("root.crt", pki.root.certificate.pem);
  await own("intermediate.crt", pki.intermediate.certificate.pem);
  await own("intermediate.key", pki.intermediate.key.toPem());
  await own("ca.json", JSON.stringify(configuration(provisioner)));
  await machine.sh("chown step:step /etc/step-ca; echo 127.0.0.1 ca.internal >> /etc/hosts");
  await put(machine, "/etc/systemd/system/step-ca.service", UNIT);
  await machine.sh("systemctl enable --now step-ca");
  await machine.sh("until curl -sk https://ca.internal:9000/health; do sleep 0.1; done");
  return {
    pki,
    provisioner,
    requests: async () => {
      const paths = await machine.sh(
        `journalctl -u step-ca -o cat | sed -n 's/.* path=\\([^? ]*\\).*/\\1/p' | sort | uniq -c`,
      );
      return new Map(
        paths.split("\n").map((line) => {
          const [count = "0", path = ""] = line.trim().split(" ");
          return [path, Number(count)];
        }),
      );
    },
  };
}

function configuration({ name, publicJwk, encryptedKey }: Provisioner): unknown {
  const folder = "/etc/step-ca";
  return {
    root: `${folder}/root.crt`,
    crt: `${folder}/intermediate.crt`,
    key: `${folder}/intermediate.key`,
    address: "127.0.0.1:9000",
    dnsNames: ["ca.internal"],
    logger: { format: "text" },
    db: { type: "bbolt", dataSource: `${folder}/db.bolt` },
    authority: {
      claims: { minTLSCertDuration: "1m", maxTLSCertDuration: "168h", defaultTLSCertDuration: "24h" },
      provisioners: [{ type: "JWK", name, key: publicJwk, encryptedKey }],
    },
  };
}
