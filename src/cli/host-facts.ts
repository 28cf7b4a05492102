import * as z from "zod";
import { type CanonicalName, canonicalName } from "../base/canonical-name.ts";
import type { System } from "../core/ports.ts";
import { type HostFacts, readHostFacts } from "../spec/host-facts.ts";
import { readState, writeState } from "../store/state-file.ts";

const schema = z.object({ schema: z.literal(1), hostname: z.string(), fqdn: z.string() });

/**
 * This host's facts, steady over restarts: where the resolver does not answer (a boot before the network is up), the
 * domain that was known before stands for as long as the host keeps its name, and where the host has none yet (one that
 * gets it from DHCP is called localhost until then), its name of before. A certificate for the bare name is nobody's
 * wish. Remembered in the file at `path`, unless `readOnly`.
 */
export async function steadyFacts(
  path: string,
  about: { readonly readOnly: boolean; readonly ask?: CanonicalName; readonly kernelName?: string },
): Promise<HostFacts> {
  const { readOnly, ask, kernelName } = about;
  const facts = await readHostFacts(ask, kernelName);
  const before = await readState(path, schema);
  const known = before && { hostname: before.hostname, fqdn: before.fqdn };
  const { hostname, fqdn } = facts;
  if (hostname === null || fqdn === null) return known ?? facts;
  if (known?.hostname === hostname && (fqdn === hostname || fqdn === known.fqdn)) return known;
  // A folder that cannot be written is told of by what needs it more.
  if (!readOnly) await writeState(path, { schema: 1, hostname, fqdn }).catch(() => undefined);
  return facts;
}

/**
 * The resolver of a process that is confined itself, and then without a network: what it does not know from files and
 * local sockets, a program outside is asked for. Where commands are children, that one would know no more.
 */
export function askOutsideToo({ run, ask }: Pick<System, "run" | "ask">): CanonicalName {
  return async (host, timeout) => {
    const name = await canonicalName(host, timeout);
    if (name !== undefined || run === ask) return name;
    return await run(["hostname", "-f"], { timeout, label: "hostname", isData: true }).then(
      ({ exitCode, output }) => (exitCode === 0 ? output.trim() : undefined),
      () => undefined,
    );
  };
}
