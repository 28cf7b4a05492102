import { access } from "node:fs/promises";
import { join } from "node:path";
import { writeAtomically } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import type { Run } from "../base/run.ts";
import { MINUTE } from "../base/time.ts";
import type { Certificate } from "../x509/certificate.ts";

/** Where distributions take the anchors of a host from, and what makes them their programs'. */
const STORES: readonly { readonly folder: string; readonly update: readonly string[] }[] = [
  { folder: "/etc/pki/ca-trust/source/anchors", update: ["update-ca-trust", "extract"] }, // Fedora, RHEL
  { folder: "/usr/local/share/ca-certificates", update: ["update-ca-certificates"] }, // Debian, Ubuntu, Alpine
];

/**
 * Has the programs of this host trust a root. Gives the file that says so, whose name is the same each time. Throws
 * `DEPLOY_FAILED`.
 */
export async function installRoot(root: Certificate, run: Run): Promise<string> {
  for (const { folder, update } of STORES) {
    if (!(await exists(folder))) continue;
    const file = join(folder, `certagent-${root.fingerprint.slice(0, 16)}.crt`);
    await writeAtomically(file, Buffer.from(root.pem), { mode: 0o644 });
    const { exitCode, output } = await run(update, { timeout: 2 * MINUTE });
    if (exitCode === 0) return file;
    const said = output.trim();
    throw new AgentError("DEPLOY_FAILED", `Cannot install "${file}": ${update[0]} failed${said && `: ${said}`}`);
  }
  throw new AgentError("DEPLOY_FAILED", "Cannot install the root: no trust store of a kind that certagent knows", {
    hint: "apt install ca-certificates, or dnf install ca-certificates",
  });
}

function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
