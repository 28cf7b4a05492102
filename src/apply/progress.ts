import type { ApplyReport, Desired, Generation } from "../core/ports.ts";
import type { Generations } from "../store/generations.ts";
import type { ApplyRecord, Records } from "./record.ts";
import type { ServiceHost } from "./service-actions.ts";

/** One apply: of which spec, with what. */
export interface Applying {
  readonly host: ServiceHost;
  readonly records: Records;
  readonly generations: Pick<Generations, "newest" | "read">;
  readonly desired: Desired;
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
  progress.record = { ...progress.record, ...change };
  await records.write(desired.name, progress.record);
}

/** An earlier generation; undefined where it is none of ours or no longer there. */
export async function readGeneration(
  { generations }: Applying,
  number: number | null,
): Promise<Generation | undefined> {
  return number === null ? undefined : await generations.read(number).catch(() => undefined);
}
