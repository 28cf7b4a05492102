import type { Files } from "../base/atomic-file.ts";
import type { Log } from "../base/log.ts";
import type { System } from "../core/ports.ts";
import type { Layout } from "../store/layout.ts";
import type { AnchorsOf } from "./accept.ts";
import type { ResolveAccess } from "./files/access.ts";
import type { Turns } from "./turns.ts";

/** What the parts of this folder share: the world, and where state lies. */
export interface Host {
  readonly layout: Layout;
  readonly system: System;
  readonly log: Log;
  readonly files: Files;
  readonly accessOf: ResolveAccess;
  readonly anchorsOf: AnchorsOf;
  /** Gives a staged file its security label; absent where the host has none. */
  readonly relabel: ((path: string) => Promise<void>) | undefined;
  readonly turns: Turns;
}

/** The world for one spec's services and hooks: their commands run under its name. */
export function labelled(system: System, label: string): System {
  return { ...system, run: (argv, options) => system.run(argv, { ...options, label }) };
}
