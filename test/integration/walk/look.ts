/** How the walk looks at the host: with other people's programs, never with certagent's own code. */
import { execFile } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:tls";
import { promisify } from "node:util";
import { pause } from "../../../src/base/time.ts";
import type { CertificateStatus } from "../../../src/core/status-document.ts";
import { openssl } from "../../servers/openssl.ts";
import type { StepCa } from "../../servers/step-ca.ts";

const execute = promisify(execFile);

/** Owner, group, mode and ACL of a file, links followed: `root:root 640 user:www-data:r--`. */
export async function accessOf(path: string): Promise<string> {
  const { stdout: access } = await execute("stat", ["--dereference", "--format=%U:%G %a", path]);
  const { stdout: acl } = await execute("getfacl", ["--omit-header", "--absolute-names", path]);
  const extra = acl.split("\n").filter((line) => /^(user|group):[^:]+:/.test(line));
  return [access.trim(), ...extra].join(" ");
}

/** The SHA-256 fingerprint of the first certificate in a file, as status shows it. */
export async function leafIn(path: string): Promise<string> {
  return fingerprintOf(await readFile(path));
}

/** What a server serves, as openssl sees it. */
export function served(port: number, ...options: readonly string[]): X509Certificate {
  // Redis, which demands a certificate of its clients, ends the connection after it has shown its own.
  const { output } = openssl(["s_client", "-connect", `127.0.0.1:${port}`, ...options]);
  return new X509Certificate(output.slice(output.indexOf("-----BEGIN")));
}

export function fingerprintOf(certificate: X509Certificate | Buffer): string {
  const parsed = certificate instanceof X509Certificate ? certificate : new X509Certificate(certificate);
  return parsed.fingerprint256.replaceAll(":", "").toLowerCase();
}

/** What a CA was asked for, without what it was only asked about. */
export interface Issuances {
  readonly sign: number;
  readonly renew: number;
}

export function issuancesOf(ca: Pick<StepCa, "requests">): Issuances {
  const asked = ca.requests();
  const count = (path: string): number => asked.filter((one) => one === path).length;
  return { sign: count("/sign"), renew: count("/renew") };
}

/** Whether a certificate is in force, with every service proven to serve it. */
export function isCurrent(one: CertificateStatus | undefined): boolean {
  return one?.state === "current" && one.failure === null;
}

export function areCurrent(certificates: ReadonlyMap<string, CertificateStatus>): boolean {
  return [...certificates.values()].every(isCurrent);
}

/** Connects to a server over and over, as its clients do, until it is told to stop. */
export function keepConnecting(port: number): { readonly stop: () => Promise<{ well: number; failed: number }> } {
  const stop = new AbortController();
  const counts = { well: 0, failed: 0 };
  const work = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      counts[(await handshakeSucceeds(port)) ? "well" : "failed"] += 1;
      await pause(50, stop.signal);
    }
  };
  const working = work();
  return {
    stop: async () => {
      stop.abort();
      await working;
      return counts;
    },
  };
}

function handshakeSucceeds(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    socket.once("secureConnect", () => socket.end(() => resolve(true)));
    socket.once("error", () => resolve(false));
  });
}
