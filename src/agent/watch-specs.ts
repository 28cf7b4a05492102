import { watch } from "chokidar";
import { type Milliseconds, pause } from "../base/time.ts";

/** An editor and a package manager write several files, and one in several steps. */
const SETTLING: Milliseconds = 100;

/**
 * Calls `onChange` soon after something changed in the folders or files at these paths, missing ones too, until
 * disposed of. Events get lost, so nobody may rely on it alone. `onFailure` hears why watching does not work.
 */
export function watchSpecs(
  paths: readonly string[],
  onChange: () => void,
  onFailure: (error: unknown) => void,
): AsyncDisposable {
  let isSettling = false;
  const settle = async (): Promise<void> => {
    if (isSettling) return;
    isSettling = true;
    await pause(SETTLING);
    isSettling = false;
    onChange();
  };
  const watcher = watch([...paths], { ignoreInitial: true, depth: 0, ignorePermissionErrors: true });
  watcher.on("all", () => void settle());
  watcher.on("error", onFailure);
  return { [Symbol.asyncDispose]: () => watcher.close() };
}
