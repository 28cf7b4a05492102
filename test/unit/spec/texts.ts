import { sha256 } from "../../../src/core/hash.ts";
import { type Host, type HostResult, hostFrom } from "../../../src/spec/host.ts";
import type { HostFacts } from "../../../src/spec/host-facts.ts";
import { parseYaml } from "../../../src/spec/parse.ts";
import { type SpecResult, specFrom } from "../../../src/spec/spec.ts";

/** What the text of a spec is judged as. */
export function parseSpec(
  bytes: Uint8Array,
  { name, file, host, facts }: { name: string; file: string; host: Host | undefined; facts: HostFacts },
): SpecResult {
  const parsed = parseYaml(bytes, file, facts);
  if (!("source" in parsed)) return { desired: undefined, problems: parsed.problems, warnings: [], places: [] };
  return specFrom(parsed.source, { name, digest: sha256(bytes), host });
}

/** What the text of a host configuration is judged as. */
export function parseHost(bytes: Uint8Array, file: string, facts: HostFacts): HostResult {
  const parsed = parseYaml(bytes, file, facts);
  if (!("source" in parsed)) return { host: undefined, problems: parsed.problems, warnings: [], isSound: false };
  return hostFrom(parsed.source, sha256(bytes));
}
