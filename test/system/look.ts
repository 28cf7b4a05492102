/** How tests look at a machine: with other people's programs, never with certagent's own code. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import type { CertificateStatus } from "../../src/core/status-document.ts";
import { FILES, FIVE } from "./contract-host.ts";
import type { Machine } from "./machine.ts";

/** What lies at the outputs: the leaf's fingerprint, and whether the key there is its key. */
export interface PairSeen {
  readonly fingerprint: string;
  readonly isWhole: boolean;
}

const PART = "-- next file --";

/** All pairs at one instant, as nearly as a program can look. Throws where a file is missing, empty or torn. */
export async function pairsOn(machine: Machine): Promise<Readonly<Record<string, PairSeen>>> {
  const paths = FIVE.flatMap((name) => FILES[name]);
  const text = await machine.sh(`for file in ${paths.join(" ")}; do cat $file; echo "${PART}"; done`);
  const parts = text.split(PART);
  return Object.fromEntries(
    FIVE.map((name, at) => {
      const certificate = new X509Certificate(parts[2 * at] ?? "");
      const key = createPrivateKey(parts[2 * at + 1] ?? "");
      return [name, { fingerprint: plain(certificate.fingerprint256), isWhole: certificate.checkPrivateKey(key) }];
    }),
  );
}

/** The specs whose pair is not whole. */
export async function broken(machine: Machine): Promise<readonly string[]> {
  return Object.entries(await pairsOn(machine)).flatMap(([name, { isWhole }]) => (isWhole ? [] : [name]));
}

const CONNECT = {
  "vlc-admin": "127.0.0.1:443 -servername vlc-admin.internal",
  postgres: "127.0.0.1:5432 -starttls postgres",
  redis: "127.0.0.1:6380",
  "node-exporter": "127.0.0.1:9100",
} as const;

/** The leaf that each server shows, as openssl sees it. */
export async function servedOn(machine: Machine): Promise<Readonly<Record<string, string>>> {
  const served: Record<string, string> = {};
  for (const [name, options] of Object.entries(CONNECT)) {
    // Redis, which demands a certificate of its clients, ends the connection after it has shown its own.
    const shown = await machine.run(["sh", "-c", `openssl s_client -connect ${options} </dev/null 2>/dev/null`]);
    const start = shown.stdout.indexOf("-----BEGIN");
    served[name] = start < 0 ? "nothing" : plain(new X509Certificate(shown.stdout.slice(start)).fingerprint256);
  }
  return served;
}

function plain(fingerprint: string): string {
  return fingerprint.replaceAll(":", "").toLowerCase();
}

/** Owner, group, mode and ACL of a file, links followed: `root:root 640 user:nginx:r--`. */
export async function accessOn(machine: Machine, path: string): Promise<string> {
  const seen = await machine.sh(
    `stat -Lc "%U:%G %a" ${path}; getfacl -cpE ${path} | grep -E "^(user|group):[^:]+:" || true`,
  );
  return seen.split("\n").join(" ");
}

export function isCurrent(one: CertificateStatus | undefined): boolean {
  return one?.state === "current" && one.failure === null;
}

export function areCurrent(certificates: ReadonlyMap<string, CertificateStatus>): boolean {
  return certificates.size === FIVE.length && [...certificates.values()].every(isCurrent);
}
