import type { ObservedGeneration } from "../core/observed.ts";
import type { Generation } from "../core/ports.ts";
import type { Generations } from "../store/generations.ts";
import { earliestExpiry } from "../x509/chain.ts";

/** What decisions need of a generation, without its key and certificates, which are not kept in memory. */
export function observedGeneration({ number, request, chain, issuedAt }: Generation): ObservedGeneration {
  const [leaf] = chain;
  return {
    number,
    request,
    fingerprint: leaf.fingerprint,
    serial: leaf.serial,
    key: leaf.key,
    notBefore: leaf.notBefore,
    notAfter: leaf.notAfter,
    chainNotAfter: earliestExpiry(chain),
    issuedAt,
  };
}

/** Reads each generation once, as they do not change by themselves; one that cannot be read is tried again each time. */
export interface GenerationCache {
  /** The newest that can be read; null where there is none. */
  newest(): Promise<ObservedGeneration | null>;
  /** Null where it is not there or cannot be read, or was not there when `newest` looked last. */
  read(number: number): Promise<ObservedGeneration | null>;
  /** Takes one that was staged just now, which need not be read again. */
  keep(generation: Generation): void;
  /** Has all be read again: something failed, and a file may be damaged by now. */
  forget(): void;
}

/** Three are kept, and a few may be damaged. Root looks into the agent's folder too, where there may be a million. */
const MOST_TRIED = 64;

export function generationCache(generations: Generations): GenerationCache {
  const known = new Map<number, ObservedGeneration>();

  const load = async (number: number): Promise<ObservedGeneration | null> => {
    const cached = known.get(number);
    if (cached !== undefined) return cached;
    const read = await generations.read(number).then(observedGeneration, () => null);
    if (read !== null) known.set(number, read);
    return read;
  };

  return {
    newest: async () => {
      const numbers = await generations.list();
      for (const number of known.keys()) if (!numbers.includes(number)) known.delete(number);
      for (const number of numbers.slice(-MOST_TRIED).toReversed()) {
        const generation = await load(number);
        if (generation !== null) return generation;
      }
      return null;
    },
    read: async (number) =>
      known.get(number) ?? ((await generations.list()).includes(number) ? await load(number) : null),
    keep: (generation) => void known.set(generation.number, observedGeneration(generation)),
    forget: () => known.clear(),
  };
}
