import { type FSWatcher, watch } from "node:fs";

/**
 * Calls `onChange` when something in a folder changes, until disposed of. Events get lost, and a folder that is not there
 * has none: nobody may rely on it alone. It is told the name that changed; null where the kernel did not say.
 */
export function watchFolder(path: string, onChange: (name: string | null) => void): Disposable {
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(path, { persistent: false }, (_, name) => onChange(name));
    watcher.on("error", () => watcher?.close());
  } catch {
    // Not there, or too many are watched on this host: who waits looks now and then.
  }
  return { [Symbol.dispose]: () => watcher?.close() };
}
