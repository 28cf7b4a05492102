import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspect } from "node:util";
import { expect, test } from "vitest";
import { startDevCa } from "../../../src/devca/devca.ts";
import type { Faults } from "../../../src/devca/faults.ts";
import { issuerOf, never, orderFor, renewalOf, secretFile } from "./desk.ts";

const FAULTS: readonly Faults[] = [
  {},
  { transport: "down" },
  { transport: "silent" },
  { transport: "lost" },
  { transport: "garbage" },
  { answer: { status: 401 } },
  { answer: { status: 500 }, only: ["/sign", "/renew"] },
  { answer: { status: 401 }, only: ["/sign", "/renew"] },
  { chain: "with-key" },
];

/** A secret in every form in which a log could hold it. */
function forms(secret: string): readonly string[] {
  const bytes = Buffer.from(secret);
  return [secret, bytes.toString("base64"), bytes.toString("base64url"), bytes.toString("hex")];
}

test("no error, of whatever went wrong, holds a password, a token, a provisioner's key or a private key", async () => {
  await using ca = await startDevCa({ provisioner: { name: "canary", password: "correct horse battery staple" } });
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-canary-"));
  const rootFile = join(folder.path, "root.crt");
  await writeFile(rootFile, ca.root.pem);
  const { d = "" } = JSON.parse(ca.provisioner.jwk) as { readonly d?: string };
  const order = await orderFor("web.internal");
  const keyText = order.key.toPem().split("\n")[1] ?? "";
  const secrets = [ca.provisioner.password, d, keyText];
  await using jwk = await secretFile(ca.provisioner.jwk);
  const first = await issuerOf({ ...ca, url: ca.url, rootFile }, { key: { file: jwk.file } }).issue(order, never);
  const said: string[] = [];

  for (const faults of FAULTS) {
    for (const kind of ["password", "token", "key", "broken"] as const) {
      const token = await ca.token("web.internal");
      const texts = {
        password: ca.provisioner.password,
        token,
        key: ca.provisioner.jwk,
        broken: ca.provisioner.jwk.slice(1),
      };
      secrets.push(token);
      await using secret = await secretFile(texts[kind]);
      const written = { [kind === "broken" ? "key" : kind]: { file: secret.file, delete_after_use: true } };
      const issuer = issuerOf({ ...ca, url: ca.url, rootFile }, written, { timeout: "300ms" });
      for (const asked of [order, renewalOf(order, first)]) {
        ca.faults = faults;
        const outcome = await issuer.issue(asked, never).then(
          ({ failedRungs }) => failedRungs,
          (error: unknown) => error,
        );
        said.push(inspect(outcome, { depth: 20, showHidden: true }), inspect(issuer, { depth: 20 }));
      }
    }
  }

  const text = said.join("\n");
  expect(secrets.flatMap(forms).filter((form) => text.includes(form))).toEqual([]);
  expect(text).toContain("ISSUER_UNREACHABLE");
});
