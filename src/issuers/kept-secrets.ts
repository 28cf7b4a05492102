import { type Clock, HOUR, type Instant, MINUTE, repeat } from "../base/time.ts";

/** A secret outlives its file for at most this long. */
const LONGEST_KEPT = HOUR;
const MOST_KEPT = 16;

export interface KeptSecret {
  readonly bytes: Buffer;
  /** SHA-256 of the bytes: tells secrets apart without keeping them. */
  readonly id: string;
  /** When it was first read. */
  readonly since: Instant;
}

/**
 * Secrets of one issuer whose files were deleted after use. They outlive a change of its configuration: a CA's address
 * that is put right must not cost the secret that was tried at the wrong one.
 */
export interface KeptSecrets {
  /** What is kept of one place but the one with this id, newest first, each a copy. */
  readonly from: (place: string, but: string | undefined) => readonly KeptSecret[];
  readonly isHoldingFrom: (place: string) => boolean;
  /** Keeps a copy; `alone`: instead of all others. */
  readonly keep: (place: string, secret: KeptSecret, alone: boolean) => void;
  readonly forget: (id: string) => void;
  /** Whether anything is kept. */
  readonly isHolding: () => boolean;
  readonly clear: () => void;
  /** A used file that could not be deleted yet: where it is, and which one. */
  left: { readonly path: string; readonly version: string } | undefined;
  /** Takes who is called, instead of who was before, when the last one is gone. */
  readonly whenEmpty: (listener: () => void) => void;
}

export function keepSecrets(clock: Pick<Clock, "now">): KeptSecrets {
  const kept = new Map<string, KeptSecret & { readonly place: string }>();
  let emptied = (): void => {};
  let timer: Disposable | undefined;

  const forget = (id: string): void => {
    kept.get(id)?.bytes.fill(0);
    kept.delete(id);
    if (kept.size > 0) return;
    timer?.[Symbol.dispose]();
    timer = undefined;
    emptied();
  };
  const forgetOld = (): void => {
    // A clock that stepped back would keep it for longer than was promised.
    for (const [id, { since }] of kept) if (Math.abs(clock.now() - since) >= LONGEST_KEPT) forget(id);
  };

  return {
    from: (place, but) => {
      forgetOld();
      const found = [...kept.values()].filter((one) => one.place === place && one.id !== but).toReversed();
      return found.map(({ id, since, bytes }) => ({ id, since, bytes: Buffer.from(bytes) }));
    },
    isHoldingFrom: (place) => {
      forgetOld();
      return [...kept.values()].some((one) => one.place === place);
    },
    keep: (place, { id, bytes, since }, alone) => {
      const known = kept.get(id);
      if (known?.place === place) return;
      if (known !== undefined) forget(id);
      if (alone) for (const other of kept.keys()) forget(other);
      if (kept.size >= MOST_KEPT) forget(kept.keys().next().value ?? "");
      kept.set(id, { place, id, since, bytes: Buffer.from(bytes) });
      timer ??= repeat(MINUTE, forgetOld);
    },
    forget,
    isHolding: () => kept.size > 0,
    left: undefined,
    clear: () => {
      for (const id of kept.keys()) forget(id);
    },
    whenEmpty: (listener) => {
      emptied = listener;
    },
  };
}
