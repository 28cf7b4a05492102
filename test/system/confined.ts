/** Has a test system do things as the root side does them: in the sandbox of its unit, with no way out but what it has. */
import { join } from "node:path";
import { build } from "esbuild";
import type { Task } from "./confined-driver.ts";
import type { Machine } from "./machine.ts";
import { put } from "./put.ts";

const DRIVER = "/usr/lib/certagent/driver.mjs";
const BANNER = 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);';

/** Puts what does the tasks into a booted machine. */
export async function installDriver(machine: Machine): Promise<void> {
  const { outputFiles } = await build({
    entryPoints: [join(import.meta.dirname, "confined-driver.ts")],
    bundle: true,
    write: false,
    format: "esm",
    platform: "node",
    target: "node26",
    banner: { js: BANNER },
    logLevel: "silent",
  });
  await put(machine, DRIVER, outputFiles[0]?.text ?? "");
  const unit = await machine.sh("cat $(systemctl show --property=FragmentPath --value certagent-apply.service)");
  const driven = unit.replace(/\S+certagent\.mjs .*$/m, `${DRIVER} /run/certagent/asked /run/certagent/answered`);
  await put(machine, "/run/systemd/system/driver.service", driven);
  await machine.sh("systemctl daemon-reload");
}

/** Does the tasks one after another, and answers what came of each: its result, or its failure. */
export async function doConfined(machine: Machine, tasks: readonly Task[]): Promise<readonly unknown[]> {
  await put(machine, "/run/certagent/asked", JSON.stringify(tasks));
  // Who waits for it is cut off where a task has systemd execute itself anew.
  await machine.run(["systemctl", "start", "driver.service"]);
  const ended = `while [ "$(systemctl show -P ActiveState driver.service)" = activating ]; do sleep 0.1; done`;
  const result = await machine.sh(`${ended}; systemctl show -P Result driver.service`);
  if (result !== "success") throw new Error(await machine.sh("journalctl --no-pager -n 40 -u driver.service"));
  return JSON.parse(await machine.sh("cat /run/certagent/answered; rm /run/certagent/answered")) as readonly unknown[];
}
