import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, test } from "vitest";
import type { RecoveringApplier } from "../../../src/apply/applier.ts";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import { pause, SECOND } from "../../../src/base/time.ts";
import type { Desired, Service } from "../../../src/core/ports.ts";
import { openGenerations } from "../../../src/store/generations.ts";
import { makePki } from "../../servers/pki.ts";
import { desiredIn, makeHost, NAME, never, output, shellService, type TestHost } from "./harness.ts";

const OTHER = "other";

/** As nginx does: what it reads of the other spec's certificate and of its key must fit, whatever comes in between. */
const reads = (seconds: number): string =>
  `openssl x509 -in tls/other.crt -noout -pubkey > $$.a; sleep ${seconds}; openssl pkey -in tls/other.key -pubout > $$.b; cmp $$.a $$.b`;

/** Two specs that share a service; each has one generation deployed, and the next one staged. */
async function sharing(
  host: TestHost,
  service: Service,
  rename: typeof nodeFiles.rename = nodeFiles.rename,
): Promise<RecoveringApplier> {
  const pki = await makePki();
  host.anchors = async () => pki.roots;
  const { layout } = host.desired;
  const web = desiredIn(host.tls, { layout, services: [service] });
  const [crt, key] = [host.path("other.crt"), host.path("other.key")];
  const outputs = [output("fullchain", crt, { mode: 0o644 }), output("key", key)];
  const other: Desired = { ...web, name: OTHER, file: "/etc/certagent.d/other.yaml", outputs };
  const specs = new Map([web, other].map((desired) => [desired.name, desired]));
  const applier = await host.open({ ...nodeFiles, rename }, { specs });
  const stage = async ({ name, request }: Desired): Promise<void> => {
    const { key: its, chain } = await pki.issue();
    const draft = { request, key: its, chain, roots: pki.roots, issuedAt: Date.now(), via: "token" };
    await openGenerations(host.layout.agent.generations(name)).stage(draft);
  };
  for (const desired of [other, web]) {
    await stage(desired);
    await applier.apply(desired.name, never);
    await stage(desired);
  }
  return applier;
}

const taken = { failure: null, services: [{ outcome: "reloaded", failure: null }] };

test.for(["files", "link"] as const)(
  "a service is not checked while another spec's pair is only half switched, with layout: %s",
  async (layout) => {
    await using host = await makeHost({ layout });
    const { promise: isOpen, resolve: open } = Promise.withResolvers<void>();
    const { promise: isHalf, resolve: reach } = Promise.withResolvers<void>();
    let isSlow = false;
    // A disk that is slow between the two renames of that pair, or at the one that switches both.
    const rename = async (from: string, to: string): Promise<void> => {
      if (isSlow && /^(other\.crt|current)$/.test(basename(to))) {
        reach();
        await isOpen;
      }
      await nodeFiles.rename(from, to);
    };
    const applier = await sharing(host, shellService({ preflightBy: `cd ${host.folder}; ${reads(0.2)}` }), rename);

    isSlow = true;
    const switching = applier.apply(OTHER, never);
    await isHalf;
    isSlow = false;
    const applying = applier.apply(NAME, never);
    await pause(100);
    open();

    expect(await Promise.all([switching, applying])).toMatchObject([taken, taken]);
    expect(host.log.filter((line) => line.includes("preflight failed"))).toEqual([]);
  },
);

test("nor is a pair switched while the service may still read it, since a signal is heard after it was sent", async () => {
  await using host = await makeHost();
  const at = (name: string): string => join(host.folder, name);
  const reloadBy = `cd ${host.folder}; [ -e slow ] || exit 0; rm slow; ((${reads(1.5)}) > words 2>&1; mv words read) & sleep 1`;
  const applier = await sharing(host, shellService({ reloadBy, settle: 2 * SECOND }));

  writeFileSync(at("slow"), "");
  const applying = applier.apply(NAME, never);
  while (existsSync(at("slow"))) await pause(10);
  const switching = applier.apply(OTHER, never);

  expect(await Promise.all([applying, switching])).toMatchObject([taken, taken]);
  while (!existsSync(at("read"))) await pause(10);
  expect(readFileSync(at("read"), "utf8")).toBe("");
});
