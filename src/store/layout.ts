import { join } from "node:path";

/** Where everything lies under `--state` and `--runtime`. Neither side writes the other's folders. */
export interface Layout {
  /** The agent's own: keys, generations, facts, lock, its last good specs. */
  readonly agent: {
    readonly folder: string;
    readonly lock: string;
    readonly specs: string;
    readonly roots: string;
    /** Marks of one-time tokens that were sent. The root side reads all that lies among the roots. */
    readonly spent: string;
    /** The folder that holds a folder of generations for each spec. */
    readonly allGenerations: string;
    generations(name: string): string;
    facts(name: string): string;
  };
  /** The root side's own: what was written where, open intents, its last good specs, what it replaced. */
  readonly apply: {
    readonly folder: string;
    readonly lock: string;
    readonly specs: string;
    readonly intents: string;
    readonly replaced: string;
    facts(name: string): string;
  };
  /** What the links of `layout: link` point into. */
  readonly live: string;
  readonly control: string;
  /** What the agent asks of the root side where that is another process: the agent's own folder. */
  readonly requests: string;
  /** What the root side answers: its own folder. */
  readonly reports: string;
}

/** The layout under a state folder and a runtime folder, both absolute. */
export function layoutOf(state: string, runtime: string): Layout {
  const agent = join(state, "agent");
  const apply = join(state, "apply");
  return {
    agent: {
      folder: agent,
      lock: join(agent, "lock"),
      specs: join(agent, "specs"),
      roots: join(agent, "roots"),
      spent: join(agent, "spent"),
      allGenerations: join(agent, "generations"),
      generations: (name) => [agent, "generations", name].join("/"), // in one piece: it is kept of each spec
      facts: (name) => join(agent, "facts", `${name}.json`),
    },
    apply: {
      folder: apply,
      lock: join(apply, "lock"),
      specs: join(apply, "specs"),
      intents: join(apply, "intents"),
      replaced: join(apply, "replaced"),
      facts: (name) => join(apply, "facts", `${name}.json`),
    },
    live: join(state, "live"),
    control: join(runtime, "control"),
    requests: join(runtime, "requests"),
    reports: join(runtime, "reports"),
  };
}
