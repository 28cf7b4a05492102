import { basename } from "node:path";
import { expect, test } from "vitest";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import { pause } from "../../../src/base/time.ts";
import type { Desired } from "../../../src/core/ports.ts";
import { openGenerations } from "../../../src/store/generations.ts";
import { makePki } from "../../servers/pki.ts";
import { desiredIn, makeHost, NAME, never, output, shellService } from "./harness.ts";

test.for(["files", "link"] as const)(
  "a service is not checked while another spec's pair is only half switched, with layout: %s",
  async (layout) => {
    const pki = await makePki();
    await using host = await makeHost({ layout });
    host.anchors = async () => pki.roots;
    const [certificate, key] = [host.path("other.crt"), host.path("other.key")];
    // As nginx does: what it reads of the certificate and of its key must fit, whatever comes in between.
    const reads = `openssl x509 -in ${certificate} -noout -pubkey > $$.a; sleep 0.2; openssl pkey -in ${key} -pubout > $$.b; cmp $$.a $$.b`;
    const services = [shellService({ preflightBy: `cd ${host.folder}; ${reads}` })];
    const web = desiredIn(host.tls, { layout, services });
    const outputs = [output("fullchain", certificate, { mode: 0o644 }), output("key", key)];
    const other: Desired = { ...web, name: "other", file: "/etc/certagent.d/other.yaml", outputs };
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
    const specs = new Map([
      [NAME, web],
      ["other", other],
    ]);
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
    isSlow = true;

    const switching = applier.apply("other", never);
    await isHalf;
    isSlow = false;
    const applying = applier.apply(NAME, never);
    await pause(100);
    open();

    expect(await Promise.all([switching, applying])).toMatchObject([
      { failure: null, services: [{ outcome: "reloaded", failure: null }] },
      { failure: null, services: [{ outcome: "reloaded", failure: null }] },
    ]);
    expect(host.log.filter((line) => line.includes("preflight failed"))).toEqual([]);
  },
);
