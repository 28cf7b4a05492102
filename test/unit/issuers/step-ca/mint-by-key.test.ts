import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { AgentError } from "../../../../src/base/errors.ts";
import { systemClock } from "../../../../src/base/time.ts";
import { stepCaConfig } from "../../../../src/issuers/step-ca/config.ts";
import { createKeyMinter } from "../../../../src/issuers/step-ca/mint-by-key.ts";
import type { Session } from "../../../../src/issuers/step-ca/session.ts";
import { generateKey } from "../../../../src/x509/key.ts";

const request = {
  issuer: "internal",
  subject: "web.internal",
  names: [],
  usages: [],
  lifetime: null,
  key: null,
} as const;

test("a defect that opening the provisioner's key runs into ends that attempt, and is not run into for ever", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-mint-"));
  const file = join(folder.path, "password");
  await writeFile(file, "secret", { mode: 0o600 });
  const provisioner = { type: "jwk", name: "admin", password: { file } };
  const root = { fingerprint: "0".repeat(64) };
  const config = stepCaConfig.parse({ type: "step-ca", url: "https://127.0.0.1:1", root, provisioner });
  let asked = 0;
  const ask = async (): Promise<never> => {
    asked += 1;
    if (asked > 10) throw new AgentError("ISSUER_UNREACHABLE", "Cannot go on");
    throw new TypeError("a defect");
  };
  const session = { ask, signal: new AbortController().signal } as unknown as Session;
  const minter = createKeyMinter(config, { clock: systemClock, userAgent: "certagent/test" });

  const minting = minter.mint(session, { request, key: await generateKey("ec-p256"), complain: () => {} });

  await expect(minting).rejects.toThrow("a defect");
  expect(asked).toBe(1);
});
