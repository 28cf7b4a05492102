/** What the agent learns of what stood on the host before: a pair that fits its spec, and nothing of any other. */
import { chmod, chown, mkdir, readFile, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, expect, test } from "vitest";
import { systemClock } from "../../../src/base/time.ts";
import type { ApplyFacts } from "../../../src/core/applier.ts";
import { createIssuer, issuerSchema } from "../../../src/issuers/index.ts";
import type { Certificate } from "../../../src/x509/certificate.ts";
import { type IssuedLeaf, makePki, type Pki } from "../../servers/pki.ts";
import { ASKED, makeHost, NAME, never, type TestHost } from "../apply/harness.ts";
import { takeOver } from "./hostile-agent.ts";

let evil: Pki;
beforeAll(async () => {
  evil = await makePki("Evil");
});

async function place(host: TestHost, { key, pem }: Pick<IssuedLeaf, "key" | "pem">): Promise<string> {
  await writeFile(host.path("web.key"), key.toPem(), { mode: 0o600 });
  await writeFile(host.path("web.crt"), pem);
  return key.toPem().split("\n")[1] ?? "";
}

test.each<readonly [string, (host: TestHost) => Promise<IssuedLeaf>]>([
  ["for other names", ({ pki }) => pki.issue({ names: ["mail.internal"] })],
  ["of another CA", () => evil.issue()],
  ["for other uses", ({ pki }) => pki.issue({ usages: ["client"] })],
])("a pair %s is not handed over, and neither facts, report nor journal hold anything of its key", async (_, issue) => {
  await using host = await makeHost();
  const line = await place(host, await issue(host));
  const applier = await host.open();

  const facts = (await applier.observe([ASKED], never)).get(NAME) as ApplyFacts;
  const report = await applier.apply(NAME, never);

  expect(facts.adoptable).toBe(true);
  expect(await applier.adopt(NAME, never)).toBeUndefined();
  expect(JSON.stringify([facts, report, host.log])).not.toContain(line);
  expect(JSON.stringify([facts, report, host.log])).not.toContain("PRIVATE");
});

test("what else stands at an output is told of without a word of it", async () => {
  await using host = await makeHost();
  await writeFile(host.path("web.key"), "root:x:0:0:a secret of somebody's\n");
  await writeFile(host.path("web.crt"), "-----BEGIN SECRETS-----\nhidden\n-----END CERTIFICATE-----\n");
  await host.issue();
  const applier = await host.open();

  const told = JSON.stringify([...(await applier.observe([ASKED], never)), await applier.apply(NAME, never), host.log]);

  expect(told).toContain("it holds something that is no certificate or key");
  expect(told).not.toMatch(/somebody|hidden|SECRETS/);
});

test.each<readonly [string, (host: TestHost) => readonly Certificate[], boolean]>([
  ["is the pinned one", ({ pki }) => pki.roots, true],
  ["is another one", () => evil.roots, false],
  ["is not there", () => [], false],
])("where the root is pinned by fingerprint and the one that the agent has fetched %s", async (_, fetched, adopts) => {
  await using host = await makeHost();
  await place(host, await host.pki.issue());
  await takeOver(host);
  for (const [index, root] of fetched(host).entries()) {
    await writeFile(join(host.layout.agent.roots, `root-${index}.pem`), root.pem);
  }
  const issuer = issuerOf({ fingerprint: host.pki.root.certificate.fingerprint });
  host.anchors = async (_issuer, candidates) => await issuer.anchors(candidates);

  expect((await (await host.open()).adopt(NAME, never)) !== undefined).toBe(adopts);
});

test("anchors are those of the file, whatever is offered; where it is missing, that with the fingerprint", async () => {
  await using host = await makeHost();
  const [own, others] = [host.pki.root.certificate, evil.root.certificate];
  const file = join(host.folder, "anchors.pem");
  const both = issuerOf({ file, fingerprint: own.fingerprint });

  expect(await both.anchors([others])).toEqual([]);
  expect(await both.anchors([others, own, own])).toEqual([own]);
  await expect(issuerOf({ file }).anchors([own])).rejects.toThrow("no such file");
  await writeFile(file, others.pem);
  expect((await both.anchors([own])).map(({ fingerprint }) => fingerprint)).toEqual([others.fingerprint]);
});

test("anchors in a file that others may write are none", async () => {
  await using host = await makeHost();
  const file = join(host.folder, "anchors.pem");
  await writeFile(file, await readFile(join(host.folder, "root.pem")));

  await chmod(file, 0o646);
  await expect(issuerOf({ file }).anchors([])).rejects.toThrow("everybody may write it");
  await chmod(file, 0o664);
  await expect(issuerOf({ file }).anchors([])).rejects.toThrow("its group may write it");
  await chmod(file, 0o644);
  await chown(file, 65_534, 65_534);
  await expect(issuerOf({ file }).anchors([])).rejects.toThrow("it belongs to user 65534");
});

test("anchors that another user could have put in the place of the operator's are none, though they are root's", async () => {
  await using host = await makeHost();
  const folder = join(host.folder, "theirs");
  await mkdir(folder);
  await writeFile(join(host.folder, "public-ca.pem"), evil.root.certificate.pem);
  await symlink(join(host.folder, "public-ca.pem"), join(folder, "anchors.pem"));
  const issuer = issuerOf({ file: join(folder, "anchors.pem") });

  expect(await issuer.anchors([])).toHaveLength(1); // root's own link
  await chown(folder, 65_534, 65_534);
  await utimes(join(host.folder, "public-ca.pem"), 1, 1); // what was read is read again

  await expect(issuer.anchors([])).rejects.toMatchObject({
    message: expect.stringContaining("it belongs to user 65534, not to root"),
    hint: `chown root ${folder}`,
  });
});

function issuerOf(root: { readonly file?: string; readonly fingerprint?: string }) {
  const provisioner = { type: "jwk", name: "x", password: { file: "/nowhere" } };
  // Nothing listens there: whoever opened a connection would fail.
  const config = issuerSchema.parse({ type: "step-ca", url: "https://127.0.0.1:1", root, provisioner });
  return createIssuer("internal", config, { clock: systemClock, userAgent: "certagent/test" });
}
