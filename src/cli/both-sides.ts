/** What each side reads for itself, and makes of it. */
import type { Issuer } from "../core/ports.ts";
import { createIssuer, type IssuerConfig } from "../issuers/index.ts";
import type { IssuerContext } from "../issuers/kind.ts";
import { type FolderOnDisk, openSpecFolder } from "../spec/folder.ts";
import type { HostFacts } from "../spec/host-facts.ts";
import type { Places, Surroundings } from "./surroundings.ts";

/** Configuration and specs, as one side reads them: it keeps what was last in force in a folder of its own. */
export async function openSpecs(
  { specs, config }: Places,
  { uid, version }: Pick<Surroundings, "uid" | "version">,
  side: { readonly lastGoodFolder: string; readonly facts: HostFacts; readonly readOnly: boolean },
): Promise<FolderOnDisk> {
  const trust = { users: [...new Set([0, uid])] };
  return await openSpecFolder({ folder: specs, hostFile: config, trust, version, ...side });
}

/** What is the agent's alone: the secret, and folders for what it has fetched and for what it has sent. */
export type AgentsOwn = Pick<
  IssuerContext,
  "credentialsDirectory" | "cacheFolder" | "spentFolder" | "keptSecrets" | "removeForMe"
>;

export function newIssuer(
  { clock, version }: Pick<Surroundings, "clock" | "version">,
  agentsOwn: (issuer: string) => AgentsOwn = () => ({}),
): (name: string, config: IssuerConfig) => Issuer {
  return (name, config) => createIssuer(name, config, { clock, userAgent: `certagent/${version}`, ...agentsOwn(name) });
}
