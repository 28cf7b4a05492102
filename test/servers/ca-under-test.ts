/** The embedded CA and the real step-ca by one interface, so that one suite holds both to the same behaviour. */
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startDevCa } from "../../src/devca/devca.ts";
import type { Claims } from "../../src/devca/provisioner.ts";
import type { Certificate } from "../../src/x509/certificate.ts";
import { type StepCaPolicy, startStepCa } from "./step-ca.ts";

export type CaPolicy = Omit<StepCaPolicy, "template" | "templateData" | "deniedNames" | "dnsNames">;

export interface CaUnderTest extends AsyncDisposable {
  readonly url: string;
  readonly root: Certificate;
  readonly rootFile: string;
  readonly provisioner: {
    readonly name: string;
    readonly password: string;
    readonly jwk: string;
    readonly kid: string;
  };
  token(subject: string, names?: readonly string[], claims?: Claims): Promise<string>;
  /** Changes what it allows; it restarts, so tokens of before are void. */
  change(policy: Partial<CaPolicy>): Promise<void>;
  stop(): Promise<void>;
  start(): Promise<void>;
  /** Why it refused, as only its log says. */
  refusals(): readonly string[];
  /** The paths that were asked for. */
  requests(): readonly string[];
}

export const CAS: readonly { readonly name: string; start(policy?: Partial<CaPolicy>): Promise<CaUnderTest> }[] = [
  { name: "devca", start: startEmbedded },
  { name: "step-ca", start: (policy = {}) => startStepCa({ policy }) },
];

async function startEmbedded({ provisioned = true, ...policy }: Partial<CaPolicy> = {}): Promise<CaUnderTest> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-devca-"));
  const ca = await startDevCa({ policy });
  if (!provisioned) ca.removeProvisioner();
  const rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, ca.root.pem);
  return {
    url: ca.url,
    root: ca.root,
    rootFile,
    provisioner: ca.provisioner,
    token: ca.token,
    change: async ({ provisioned: stays = true, ...changed }) => {
      ca.policy = { ...ca.policy, ...changed };
      if (!stays) ca.removeProvisioner();
      await ca.stop();
      await ca.start();
    },
    stop: ca.stop,
    start: ca.start,
    refusals: () => ca.requests.flatMap(({ reason }) => reason ?? []),
    requests: () => ca.requests.map(({ path }) => path),
    [Symbol.asyncDispose]: async () => {
      await ca.stop();
      await folder.remove();
    },
  };
}
