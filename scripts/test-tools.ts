/** Builds the Go programs that the tests run against (`test/tools/go.mod`), and gets ready what packages are made with. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { TOOLS, toolsFolder } from "../test/servers/tools.ts";
import { buildGoTools } from "./go-tools.ts";
import { nfpm } from "./nfpm.ts";
import { nodeRuntime } from "./node-runtime.ts";
import { orExplain, SetupError } from "./pinned-node.mjs";

await orExplain(async () => {
  const folder = toolsFolder();
  const missing = TOOLS.filter((tool) => !existsSync(join(folder, tool)));
  if (missing.length > 0 && folder === process.env.CERTAGENT_TOOLS) {
    throw new SetupError(`${folder} has no ${missing.join(", ")}`, "unset CERTAGENT_TOOLS to have them built");
  }
  await buildGoTools({ module: join(import.meta.dirname, "..", "test", "tools"), programs: TOOLS }, folder);
  await nfpm();
  await nodeRuntime(process.arch === "arm64" ? "arm64" : "amd64");
});
