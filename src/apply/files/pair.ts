import type { Adopted } from "../../core/applier.ts";
import { type Certificate, loadCertificates } from "../../x509/certificate.ts";
import { matches, parseKey } from "../../x509/key.ts";

/** The key and the chain that files hold together, in whatever order and division; undefined where they are no pair. */
export function pairIn(files: readonly Uint8Array[]): Adopted | undefined {
  const keys = files.flatMap((bytes) => attempt(() => [parseKey(bytes)]) ?? []);
  const chains = files.map(certificatesIn).toSorted((a, b) => b.length - a.length); // the whole chain rather than the leaf alone
  for (const key of keys) {
    for (const [leaf, ...intermediates] of chains) {
      if (leaf === undefined || !matches(key, leaf)) continue;
      // Where the leaf stands alone, its intermediates may have a file of their own.
      const beside = chains.flat().filter(({ fingerprint }) => fingerprint !== leaf.fingerprint);
      return { key, chain: [leaf, ...(intermediates.length > 0 ? intermediates : beside)] };
    }
  }
  return undefined;
}

/** None where there are none that can be read. */
export function certificatesIn(bytes: Uint8Array): readonly Certificate[] {
  return attempt(() => loadCertificates(bytes)) ?? [];
}

function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
