import { AgentError } from "../base/errors.ts";
import type { Output } from "../core/ports.ts";

export interface PairPaths {
  readonly certificate: string;
  readonly key: string;
}

/** The formats that hold a leaf with its chain, and a key, best first. */
const CERTIFICATE = ["fullchain", "combined", "certificate"];
const KEY = ["key", "combined"];

/** The files to name to a service: those that it names already, where they are ours, else the best of each. */
export function pairPaths(outputs: readonly Output[], current?: PairPaths): PairPaths | AgentError {
  const certificates = pathsOf(outputs, CERTIFICATE);
  const keys = pathsOf(outputs, KEY);
  const [certificate] = certificates;
  const [key] = keys;
  if (certificate === undefined || key === undefined) {
    const missing = certificate === undefined ? "fullchain" : "key";
    return new AgentError(
      "RELOAD_FAILED",
      `Cannot name a pair to the service: the spec has no output of format ${missing}`,
      {
        hint: `add an output { format: ${missing}, path: … } to the spec`,
      },
    );
  }
  return {
    certificate: certificates.find((path) => path === current?.certificate) ?? certificate,
    key: keys.find((path) => path === current?.key) ?? key,
  };
}

function pathsOf(outputs: readonly Output[], formats: readonly string[]): readonly string[] {
  return formats.flatMap((name) => outputs.filter(({ format }) => format.name === name).map(({ path }) => path));
}
