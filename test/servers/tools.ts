import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

/** The Go programs of `test/tools/go.mod`. */
export const TOOLS = ["pebble", "step", "step-ca"] as const;
export type Tool = (typeof TOOLS)[number];

const MODULE = join(import.meta.dirname, "..", "tools");

/**
 * Where the tools are: `$CERTAGENT_TOOLS`, a folder of the developer's own, or else a cache outside the checkout that
 * all checkouts with the same go.sum share.
 */
export function toolsFolder(): string {
  const own = process.env.CERTAGENT_TOOLS;
  if (own !== undefined && own !== "") return own;
  return cachedTools("tools", MODULE);
}

/** The folder of the cache for the programs of a Go module: another go.sum, another folder. */
export function cachedTools(name: string, module: string): string {
  const digest = createHash("sha256").update(readFileSync(join(module, "go.sum")));
  return join(cacheFolder(), `${name}-${digest.digest("hex").slice(0, 16)}`);
}

/** certagent's cache in the user's cache folder (XDG base directory specification). */
export function cacheFolder(): string {
  const base = process.env.XDG_CACHE_HOME;
  return join(base !== undefined && base !== "" ? base : join(homedir(), ".cache"), "certagent");
}

/** The path of a tool. Throws where it is missing: a missing server is a failed test, not a skipped one. */
export function toolPath(name: Tool): string {
  const path = join(toolsFolder(), name);
  if (existsSync(path)) return path;
  throw new Error(
    `${path} is missing: "npm test" builds it, or set CERTAGENT_TOOLS to a folder that has ${TOOLS.join(", ")}`,
  );
}
