// What stands behind `npm run demo|build|package|bench|ok` and `npm test`: does the set-up that is missing, then runs the thing
// on the pinned Node. The scripts of package.json start it with the Node that runs npm ($npm_node_execpath), because
// the pinned one, first in PATH there, may not start on this machine, and then nothing could say so.
import { spawnSync } from "node:child_process";
import { delimiter, join } from "node:path";
import { installTestPackages } from "./debian.mjs";
import {
  installPackages,
  nodeFlags,
  orExplain,
  pinnedNode,
  ROOT,
  runInForeground,
  SetupError,
} from "./pinned-node.mjs";

/** Command → what is run on the pinned Node, after the scripts that prepare it. */
const COMMANDS = {
  demo: { prepare: ["build.ts"], run: [...nodeFlags("demo"), "dist/certagent.mjs", "demo"] },
  build: { prepare: [], run: ["scripts/build.ts", "--tell"] },
  package: { prepare: [], run: ["scripts/package.ts"] },
  bench: { prepare: ["build.ts", "test-tools.ts"], run: ["test/bench/bench.ts"] },
  ok: { prepare: [], run: ["scripts/gate.ts"] },
  test: { prepare: ["test-tools.ts"], run: ["scripts/gate.ts", "--campaigns"] },
};

await orExplain(async () => {
  const [name = "", ...rest] = process.argv.slice(2);
  const command = Object.entries(COMMANDS).find(([known]) => known === name)?.[1];
  if (command === undefined) throw new SetupError(`unknown command "${name}"`, Object.keys(COMMANDS).join(", "));
  if (name === "test" || name === "bench") installTestPackages();
  await installPackages();
  const node = pinnedNode();
  const environment = { PATH: [join(ROOT, "node_modules", ".bin"), process.env.PATH].join(delimiter) };
  process.chdir(ROOT);
  for (const script of command.prepare) prepare(node, join("scripts", script), environment);
  await runInForeground(node, [...command.run, ...rest], environment);
});

/**
 * @param {string} node
 * @param {string} script
 * @param {Readonly<Record<string, string>>} environment
 */
function prepare(node, script, environment) {
  const { status } = spawnSync(node, [script], {
    stdio: ["ignore", process.stderr, process.stderr],
    env: { ...process.env, ...environment },
  });
  if (status !== 0) throw new SetupError(`${script} failed`, "its own words are above");
}
