import { createInTime } from "../base/in-time.ts";
import { type Clock, type Milliseconds, SECOND } from "../base/time.ts";
import type { Asked } from "../core/applier.ts";
import type { Desired } from "../core/ports.ts";
import { createCoalesce } from "./coalesce.ts";

export interface SpecReading {
  /** The specs in force as the root side reads them, by name. `owners`: which spec has deployed a path. */
  readonly specs: (owners: ReadonlyMap<string, string>) => Promise<ReadonlyMap<string, Desired>>;
  /** Whether nothing that decides about this spec has changed since `specs` was last asked. Absent: always ask. */
  readonly specIsCurrent?: ((name: string) => Promise<boolean>) | undefined;
}

/** The specs in force, read no more often than needed: each step of each of a hundred asks for its own. */
export interface SpecsInForce {
  /** All, read now; who asks while others do shares a reading that begins after that. */
  all(): Promise<ReadonlyMap<string, Desired>>;
  /** Their names. `asked`: where all of these were in force a moment ago, those of then will do. */
  names(asked?: readonly string[]): Promise<readonly string[]>;
  /** One, as it stands there now; for a look it will do that the asker has read the same text. Undefined where it is not in force. */
  one(name: string, asked?: Asked): Promise<Desired | undefined>;
}

/** How long a spec may go by a reading of all that was made before: of two that want one file both may be the edited one. */
const READING_BELIEVED: Milliseconds = 20 * SECOND;

/** It takes milliseconds, seconds on a busy host with thousands of specs. */
const READING: Milliseconds = 15 * SECOND;

export function openSpecsInForce(
  { specs, specIsCurrent }: SpecReading,
  owners: () => Promise<ReadonlyMap<string, string>>,
  clock: Clock,
): SpecsInForce {
  // A hundred specs that are observed at one time read the folder once or twice.
  const reading = createCoalesce<ReadonlyMap<string, Desired>>(clock, 0);
  let last: { readonly all: ReadonlyMap<string, Desired>; readonly until: Milliseconds } | undefined;
  const believed = (): ReadonlyMap<string, Desired> | undefined =>
    last !== undefined && clock.monotonic() < last.until ? last.all : undefined;
  const readNow = () =>
    reading("specs", async () => {
      const read = await specs(await owners());
      last = { all: read, until: clock.monotonic() + READING_BELIEVED };
      return read;
    });
  // The file system of the specs may hang: what was in force goes on meanwhile.
  const inTime = createInTime(READING);
  const all = () => (last === undefined ? readNow() : inTime(readNow, last.all));
  return {
    all,
    names: async (asked) => {
      const known = believed();
      const willDo = known !== undefined && asked?.every((name) => known.has(name)) === true;
      return [...(willDo ? known : await all()).keys()];
    },
    one: async (name, asked) => {
      const known = believed();
      if (specIsCurrent === undefined || known === undefined) return (await all()).get(name);
      const read = known.get(name);
      const isAgreed = asked !== undefined && asked.afresh !== true && asked.digest === read?.digest;
      const isCurrent = isAgreed || (await inTime(() => specIsCurrent(name), true));
      return isCurrent ? read : (await all()).get(name);
    },
  };
}
