/** Packages from packaging/nfpm.yaml by the pinned nfpm (`packaging/tools/go.mod`). */
import { join } from "node:path";
import { cachedTools } from "../test/servers/tools.ts";
import { buildGoTools } from "./go-tools.ts";

const MODULE = join(import.meta.dirname, "..", "packaging", "tools");

/** The path of nfpm, built once into the user's cache. Throws `SetupError`. */
export async function nfpm(): Promise<string> {
  const folder = cachedTools("nfpm", MODULE);
  await buildGoTools({ module: MODULE, programs: ["nfpm"] }, folder);
  return join(folder, "nfpm");
}
