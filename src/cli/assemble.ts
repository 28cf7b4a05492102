import { join } from "node:path";
import { type Agent, createAgent } from "../agent/agent.ts";
import { makeFolders } from "../base/folder.ts";
import type { Applier } from "../core/applier.ts";
import { type KeptSecrets, keepSecrets } from "../issuers/kept-secrets.ts";
import { prove } from "../probes/index.ts";
import type { Layout } from "../store/layout.ts";
import { newIssuer, openSpecs } from "./both-sides.ts";
import { steadyFacts } from "./host-facts.ts";
import type { Places, Surroundings } from "./surroundings.ts";

/**
 * The agent's side, on any way to outputs and services. Nothing is read yet but what was last in force. `readOnly`: for a
 * look beside a daemon, which changes nothing.
 */
export async function assemble(
  places: Places,
  surroundings: Surroundings,
  layout: Layout,
  applier: Applier,
  { readOnly = false } = {},
): Promise<Agent> {
  const { clock, log, credentialsDirectory } = surroundings;
  if (!readOnly) await makeFolders(places.state, { mode: 0o755 });
  const facts = await steadyFacts(join(layout.agent.folder, "host-facts.json"), { readOnly });
  const specs = await openSpecs(places, surroundings, { lastGoodFolder: layout.agent.specs, facts, readOnly });
  const never = new AbortController().signal;
  const kept = new Map<string, KeptSecrets>();
  const createIssuer = newIssuer(surroundings, (issuer) => ({
    credentialsDirectory,
    cacheFolder: layout.agent.roots,
    spentFolder: layout.agent.spent,
    keptSecrets: kept.getOrInsertComputed(issuer, () => keepSecrets(clock)),
    removeForMe: (used) => applier.forget(issuer, used, never),
  }));
  return createAgent({ clock, log, layout, applier, prove, specs, createIssuer, readOnly });
}
