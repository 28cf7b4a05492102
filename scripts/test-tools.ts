/** Builds the Go programs that the tests run against (`test/tools/go.mod`), and the one that makes packages. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { TOOLS, toolsFolder } from "../test/servers/tools.ts";
import { buildGoTools } from "./go-tools.ts";
import { nfpm } from "./nfpm.ts";
import { orExplain, SetupError } from "./pinned-node.mjs";

await orExplain(async () => {
  const folder = toolsFolder();
  const missing = TOOLS.filter((tool) => !existsSync(join(folder, tool)));
  if (missing.length > 0 && folder === process.env.CERTAGENT_TOOLS) {
    throw new SetupError(`${folder} has no ${missing.join(", ")}`, "unset CERTAGENT_TOOLS to have them built");
  }
  await buildGoTools({ module: join(import.meta.dirname, "..", "test", "tools"), programs: TOOLS }, folder);
  await nfpm();
});
