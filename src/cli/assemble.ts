import { realpath } from "node:fs/promises";
import { join } from "node:path";
import { type Agent, createAgent } from "../agent/agent.ts";
import { createApplier, type RecoveringApplier } from "../apply/applier.ts";
import { connect } from "../base/connect.ts";
import { AgentError } from "../base/errors.ts";
import { makeFolders } from "../base/folder.ts";
import type { Log } from "../base/log.ts";
import type { Run } from "../base/run.ts";
import type { Clock } from "../base/time.ts";
import type { Desired } from "../core/ports.ts";
import { createIssuer, type IssuerConfig } from "../issuers/index.ts";
import { prove } from "../probes/index.ts";
import { type FolderOnDisk, openSpecFolder, type Reading } from "../spec/folder.ts";
import { type Layout, layoutOf } from "../store/layout.ts";
import { steadyFacts } from "./host-facts.ts";

/** Where everything is: absolute paths. */
export interface Places {
  readonly config: string;
  readonly specs: string;
  readonly state: string;
  readonly runtime: string;
}

/** The real world, as `main.ts` found it. */
export interface Surroundings {
  readonly clock: Clock;
  readonly run: Run;
  readonly log: Log;
  /** The user that this process runs as. */
  readonly uid: number;
  readonly version: string;
  /** systemd's folder of credentials; undefined where there is none. */
  readonly credentialsDirectory: string | undefined;
}

export interface Assembled {
  readonly agent: Agent;
  readonly applier: RecoveringApplier;
  readonly layout: Layout;
}

/**
 * Puts both sides together in one process (`--apply direct`). Nothing is read yet but what was last in force. `readOnly`:
 * for a look beside a daemon, which changes nothing.
 */
export async function assemble(
  places: Places,
  surroundings: Surroundings,
  { readOnly = false } = {},
): Promise<Assembled> {
  const { clock, run, log, version, credentialsDirectory } = surroundings;
  // A state folder may be a link to another disk; what lies in it may not be reached through links.
  const layout = layoutOf(await realpath(places.state).catch(() => places.state), places.runtime);
  // Services go through it, to what the links of `layout: link` lead to.
  if (!readOnly) await makeFolders(places.state, { mode: 0o755 });
  const facts = await steadyFacts(join(layout.agent.folder, "host-facts.json"), { readOnly });
  const open = (lastGoodFolder: string): Promise<FolderOnDisk> =>
    openSpecFolder({
      folder: places.specs,
      hostFile: places.config,
      lastGoodFolder,
      trust: { users: [...new Set([0, surroundings.uid])] },
      facts,
      readOnly,
    });
  const newIssuer = (name: string, config: IssuerConfig) =>
    createIssuer(name, config, {
      clock,
      userAgent: `certagent/${version}`,
      credentialsDirectory,
      cacheFolder: layout.agent.roots,
    });

  const rootSide = await open(layout.apply.specs);
  let reading: Reading | undefined;
  const applier = await createApplier({
    layout,
    system: { clock, run, ask: run, connect },
    log,
    readOnly,
    specs: async (owners) => {
      reading = await rootSide.read({ owners });
      return new Map([...reading.specs].flatMap(([name, { desired }]) => (desired ? [[name, desired] as const] : [])));
    },
    specIsCurrent: async (name) => (await reading?.isCurrent(name)) === true,
    roots: async ({ request: { issuer: name } }: Desired, signal) => {
      const config = reading?.host?.issuers.get(name);
      if (config !== undefined) return newIssuer(name, config).roots(signal);
      throw new AgentError("SPEC_INVALID", `Cannot use issuer "${name}": the host configuration does not have it`);
    },
    removeUsed: async (name, used) => {
      const config = reading?.host?.issuers.get(name);
      if (config !== undefined) await newIssuer(name, config).removeUsed(used);
    },
  });
  const agentSide = await open(layout.agent.specs);
  const agent = createAgent({ clock, log, layout, applier, prove, specs: agentSide, createIssuer: newIssuer });
  return { agent, applier, layout };
}
