/** Whoever runs code inside the agent's sandbox gets nothing but what the agent itself has. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, inject, test } from "vitest";
import { type Machine, makeMachine } from "./machine.ts";
import { put } from "./put.ts";

const PROBES = join(import.meta.dirname, "probes");
const NODE = "/usr/lib/certagent/node";
const INSIDE = "/usr/local/lib/probes";

let machine: Machine;
/** A process of root's, and a terminal that another one reads. */
let victims: readonly string[];

beforeAll(async () => {
  machine = await makeMachine(inject("machines"), inject("layers"), { isCapable: true });
  await machine.boot();
  for (const file of ["kernel.ts", "probes.ts", "hunger.ts"]) {
    await put(machine, `${INSIDE}/${file}`, await readFile(join(PROBES, file), "utf8"));
  }
  await put(machine, `${INSIDE}/package.json`, '{ "type": "module" }');
  await put(machine, "/srv/other/key.pem", "not yours", "0600", "postgres:postgres");
  await put(machine, "/root/secret", "not yours", "0600");
  await put(machine, "/home/alice/secret", "not yours", "0600");
  await put(machine, "/etc/certagent/certagent.yaml", "issuers: {}\n");
  await put(machine, "/etc/certagent/root_ca.crt", "");
  await put(machine, "/etc/certagent.d/web.yaml", "");
  await machine.sh(`
    systemd-run --quiet --unit=victim sleep infinity
    systemd-run --quiet --unit=terminal script --quiet --command "tty > /run/terminal; sleep infinity" /dev/null
    systemd-run --quiet --unit=docker ${NODE} -e 'require("net").createServer().listen("/run/docker.sock")'
    until [ -s /run/terminal ] && [ -S /run/docker.sock ]; do sleep 0.1; done`);
  victims = [await machine.sh("systemctl show -P MainPID victim"), await machine.sh("cat /run/terminal")];
});
afterAll(() => machine[Symbol.asyncDispose]());

/** Has the agent's unit run something else, with everything else as it is shipped. Answers what that printed. */
async function asAgent(command: string, type: "exec" | "oneshot" = "oneshot"): Promise<string> {
  await put(
    machine,
    "/run/systemd/system/certagent.service.d/probe.conf",
    `[Service]\nType=${type}\nRestart=no\nWatchdogSec=0\nExecReload=\nExecStart=\nExecStart=${command}\n`,
  );
  await machine.sh("systemctl daemon-reload; systemctl reset-failed certagent || true");
  const { code } = await machine.run(["systemctl", "start", "certagent"]);
  const invocation = await machine.sh("systemctl show -P InvocationID certagent");
  const printed = await machine.sh(`journalctl --sync; journalctl -o cat _SYSTEMD_INVOCATION_ID=${invocation}`);
  return code === 0 ? printed : `failed ${printed}`;
}

function outcomesIn(printed: string): Readonly<Record<string, string>> {
  const line = printed.split("\n").find((text) => text.startsWith("{"));
  if (line === undefined) throw new Error(`the probes did not end:\n${printed}`);
  return JSON.parse(line) as Record<string, string>;
}

test("none of the probes gets out of the agent's sandbox, and each does where there is none", async () => {
  const free = outcomesIn(await machine.sh(`${NODE} ${INSIDE}/probes.ts ${victims.join(" ")}`));
  const kept = outcomesIn(await asAgent(`${NODE} ${INSIDE}/probes.ts ${victims.join(" ")}`));

  expect(Object.entries(free).filter(([, outcome]) => outcome !== "through")).toEqual([]);
  expect(Object.entries(kept).filter(([, outcome]) => outcome === "through")).toEqual([]);
  expect(Object.keys(kept)).toEqual(Object.keys(free));
  expect(Object.keys(kept).length).toBeGreaterThan(50);
});

test("an intruder can make but few processes, and without the sandbox many", async () => {
  const free = outcomesIn(await machine.sh(`${NODE} ${INSIDE}/hunger.ts processes`));
  const kept = outcomesIn(await asAgent(`${NODE} ${INSIDE}/hunger.ts processes`));

  expect(free).toEqual({ children: 500, why: "" });
  expect(kept).toEqual({ children: expect.any(Number), why: "EAGAIN" });
  expect(Number(kept["children"])).toBeLessThan(32);
});

test("an intruder that takes a gigabyte is ended, and nothing else is; without the sandbox it gets it", async () => {
  const free = outcomesIn(await machine.sh(`${NODE} ${INSIDE}/hunger.ts memory`));
  await asAgent(`${NODE} ${INSIDE}/hunger.ts memory`, "exec");
  await machine.sh("while systemctl is-active --quiet certagent; do sleep 0.1; done");

  expect(free).toEqual({ taken: 2 ** 30 });
  expect(await machine.sh("systemctl show -P Result -P ExecMainStatus certagent")).toMatch(/^(oom-kill|signal)\n9$/);
  expect(await machine.sh("systemctl is-active victim terminal docker")).toBe("active\nactive\nactive");
});
