/** What the tests of services share: a spec's service as the real schema parses it, and outputs as a spec gives them. */
import { connect } from "../../src/base/connect.ts";
import { run } from "../../src/base/run.ts";
import { MINUTE, systemClock } from "../../src/base/time.ts";
import type { Generation, Output, Service, System } from "../../src/core/ports.ts";
import { fullchain } from "../../src/formats/fullchain.ts";
import { key as keyFormat } from "../../src/formats/key.ts";
import { serviceSchema } from "../../src/services/index.ts";
import type { PairFiles } from "./daemon.ts";
import type { IssuedLeaf, Pki } from "./pki.ts";

export const system: System = { clock: systemClock, run, ask: run, connect };

/** Parses one entry of `services`. */
export function serviceOf(entry: Readonly<Record<string, unknown>>): Service {
  return serviceSchema.parse(entry);
}

/** The outputs of a spec that puts a pair at these paths. */
export function outputsAt(files: PairFiles, key: Partial<Output> = {}): readonly Output[] {
  const access = { owner: null, group: null, acl: [] };
  return [
    { ...access, format: fullchain, path: files.certificate, mode: 0o644 },
    { ...access, format: keyFormat, path: files.key, mode: 0o600, ...key },
  ];
}

/** A generation that holds this pair. */
export function generationOf(pki: Pki, pair: IssuedLeaf): Generation {
  return {
    number: 1,
    request: {
      issuer: "internal",
      subject: pair.leaf.subject,
      names: pair.leaf.names,
      usages: ["server", "client"],
      lifetime: MINUTE,
      key: null,
    },
    key: pair.key,
    chain: pair.chain,
    roots: pki.roots,
    issuedAt: systemClock.now(),
    via: "token",
  };
}
