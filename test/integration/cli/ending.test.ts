import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { nodeFlags } from "../../../scripts/pinned-node.mjs";
import { bundled } from "../../servers/program.ts";

const execute = promisify(execFile);

/** What Node does last, in place of its deadlock with a thread that compiles (nodejs/node 54918), which comes by chance. */
const NEVER_ENDS = "data:text/javascript,process.on('exit', () => { for (;;); })";

test("a farewell of Node that never ends holds up no command, and what was said was said whole", async () => {
  const argv = [...nodeFlags("schema"), "--import", NEVER_ENDS, await bundled(), "schema", "spec"];

  const { stdout } = await execute(process.execPath, argv, { timeout: 50_000, killSignal: "SIGKILL" });

  expect(JSON.parse(stdout)).toHaveProperty("$schema");
});
