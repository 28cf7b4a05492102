import type { Desired } from "../../src/core/ports.ts";
import type { SpecFolder, Specs } from "../../src/spec/folder.ts";
import type { Host } from "../../src/spec/host.ts";
import { desired, request, service } from "../unit/core/given.ts";
import { pathOf, probeOf } from "./model-host.ts";
import type { Scenario } from "./scenario.ts";
import { turns } from "./simulated-time.ts";

export interface ModelSpec {
  readonly name: string;
  /** The CA that it asks. */
  readonly issuer: string;
  /** That CA never fails. */
  readonly faultless?: boolean;
}

export interface EditableSpecs extends SpecFolder {
  /** Changes every spec: a comment, or the names that are asked for. */
  edit(what: "comment" | "names"): void;
}

/** A folder of specs in memory; a reading of it takes so many turns of the event loop. */
export function specFolder(
  specs: readonly ModelSpec[],
  { lifetime, rotate }: Scenario,
  readingTurns = 1,
): EditableSpecs {
  let edits = 0;
  let extraNames = 0;

  const desiredOf = ({ name, issuer }: ModelSpec): Desired => {
    const subject = `${name}.internal`;
    const names = [subject, ...(extraNames > 0 ? [`v${extraNames}.${subject}`] : [])].toSorted();
    return desired({
      name,
      digest: `version ${edits}`,
      file: `/etc/certagent.d/${name}.yaml`,
      rotate,
      request: { ...request, issuer, subject, lifetime, names: names.map((value) => ({ type: "dns", value })) },
      outputs: desired().outputs.map((output) => ({ ...output, path: pathOf(name) })),
      services: [service({ probe: probeOf(name) })],
    });
  };

  return {
    edit: (what) => {
      edits += 1;
      if (what === "names") extraNames += 1;
    },
    read: async (): Promise<Specs> => {
      await turns(readingTurns);
      return {
        host: hostOf(specs),
        problems: [],
        isSound: true,
        specs: new Map(
          specs.map((spec) => {
            const wanted = desiredOf(spec);
            return [
              spec.name,
              { name: spec.name, file: wanted.file, desired: wanted, problems: [], usingLastGood: false },
            ];
          }),
        ),
      };
    },
  };
}

function hostOf(specs: readonly ModelSpec[]): Host {
  // The agent only compares what an issuer's configuration says; the model CAs are made from their names.
  const issuers = new Map(specs.map(({ issuer }) => [issuer, { type: "step-ca", name: issuer }]));
  return {
    file: "/etc/certagent/certagent.yaml",
    digest: "host",
    issuers: issuers as unknown as Host["issuers"],
    unusable: new Map(),
    defaultIssuer: null,
    metrics: { listen: null, textfile: null },
  };
}
