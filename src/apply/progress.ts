import type { ApplyReport } from "../core/applier.ts";
import type { Desired } from "../core/ports.ts";
import type { StagedGenerations } from "../store/staged.ts";
import type { ApplyRecord, Records } from "./record.ts";
import type { ServiceHost } from "./services/actions.ts";

/** One apply: of which spec, with what. */
export interface Applying {
  readonly host: ServiceHost;
  readonly records: Records;
  readonly generations: StagedGenerations;
  readonly desired: Desired;
  /** Services, by their index in the spec, that took the newest generation and were not seen to serve it. */
  readonly again: readonly number[];
  readonly signal: AbortSignal;
}

/** What it has done so far. */
export interface Progress {
  record: ApplyRecord;
  files: ApplyReport["files"];
  services: ApplyReport["services"];
  readonly actions: string[];
  readonly repaired: string[];
}

/** Changes the record, durably. */
export async function keep(
  { records, desired }: Applying,
  progress: Progress,
  change: Partial<ApplyRecord>,
): Promise<void> {
  progress.record = { ...progress.record, ...change }; // it is so, be it written or not
  progress.record = await records.change(desired.name, change);
}
