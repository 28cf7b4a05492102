import { readFile } from "node:fs/promises";
import { isMissing } from "../../base/file-error.ts";
import { type Milliseconds, pause } from "../../base/time.ts";
import { type Certificate, loadCertificates } from "../../x509/certificate.ts";
import { matches, parseKey } from "../../x509/key.ts";

export interface PairFiles {
  readonly certificate: string;
  readonly key: string;
}

/** What a consumer finds at the two paths: a pair that is whole, none at all, or something that nobody can use. */
export type FoundPair =
  | { readonly kind: "whole"; readonly leaf: Certificate }
  | { readonly kind: "missing" }
  | { readonly kind: "broken"; readonly because: string };

/** The two files as they stand together at one instant. */
export async function readPair(files: PairFiles): Promise<FoundPair> {
  const texts = await readTogether(files);
  return texts === undefined ? { kind: "missing" } : judge(texts);
}

interface PairTexts {
  readonly certificate: string;
  readonly key: string;
}

/**
 * Two files cannot be read at one instant, so the key is read before and after the certificate: where it is the same,
 * both stood there together when the certificate was read.
 */
async function readTogether(files: PairFiles): Promise<PairTexts | undefined> {
  try {
    for (;;) {
      const key = await readFile(files.key, "utf8");
      const certificate = await readFile(files.certificate, "utf8");
      if (key === (await readFile(files.key, "utf8"))) return { certificate, key };
    }
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

function judge({ certificate, key }: PairTexts): FoundPair {
  try {
    const [leaf] = loadCertificates(certificate, "file");
    return matches(parseKey(key), leaf)
      ? { kind: "whole", leaf }
      : { kind: "broken", because: "the key is not the certificate's" };
  } catch (error) {
    return { kind: "broken", because: error instanceof Error ? error.message : String(error) };
  }
}

/** Looks at the pair all the time. */
export interface PairWatch extends AsyncDisposable {
  /** How often it looked since the first pair was there, and at how many different pairs. */
  readonly looks: number;
  readonly pairs: number;
  /** What a consumer could not have used: mismatched, torn or missing after the first. */
  readonly broken: readonly string[];
}

const LOOK_EVERY: Milliseconds = 5;

/** Watches the pair until it is disposed. */
export function watchPair(files: PairFiles): PairWatch {
  const stop = new AbortController();
  const broken: string[] = [];
  const pairs = new Set<string>();
  let looks = 0;
  let last: PairTexts | undefined;

  const look = async (): Promise<void> => {
    const texts = await readTogether(files);
    if (texts === undefined && last === undefined) return;
    looks += 1;
    if (texts?.certificate === last?.certificate && texts?.key === last?.key) return;
    last = texts ?? { certificate: "", key: "" };
    const found = texts === undefined ? ({ kind: "missing" } as const) : judge(texts);
    if (found.kind === "whole") pairs.add(found.leaf.fingerprint);
    else broken.push(found.kind === "missing" ? "a file was missing" : found.because);
  };
  const watching = (async () => {
    for (; !stop.signal.aborted; await pause(LOOK_EVERY, stop.signal)) {
      await look().catch((error: unknown) => broken.push(String(error)));
    }
  })();
  return {
    get looks() {
      return looks;
    },
    get pairs() {
      return pairs.size;
    },
    broken,
    [Symbol.asyncDispose]: () => {
      stop.abort();
      return watching;
    },
  };
}
