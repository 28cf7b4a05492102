import { copyFileSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * Copies a folder as it is at one instant, although file calls of an abandoned agent may still be under way: until
 * nothing changed while it was copied. Synchronous, so nothing new can begin.
 */
export function copyOfFolder(from: string, to: string): void {
  for (;;) {
    const before = signature(from);
    try {
      copy(from, to);
      if (signature(from) === before) return;
    } catch {
      // A file was removed in between.
    }
    rmSync(to, { recursive: true, force: true });
  }
}

function copy(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const entry of entriesOf(from)) {
    if (entry.isDirectory()) copy(join(from, entry.name), join(to, entry.name));
    else copyFileSync(join(from, entry.name), join(to, entry.name));
  }
}

function signature(folder: string): string {
  return entriesOf(folder)
    .map((entry) => {
      const path = join(folder, entry.name);
      if (entry.isDirectory()) return `${entry.name}/(${signature(path)})`;
      const stat = statSync(path, { throwIfNoEntry: false });
      return `${entry.name}:${stat?.ino}:${stat?.size}:${stat?.mtimeMs}`;
    })
    .join();
}

function entriesOf(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}
