/**
 * `npm run bench:installed`: what the installed service costs a host, beside a `step ca renew --daemon` unit for each
 * certificate, in a booted systemd with the contract's five specs. Needs root. Figures of one process are sums over the
 * processes of each side; nothing here passes or fails.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { pause, SECOND } from "../../src/base/time.ts";
import { FILES, FIVE, makeContractHost } from "../system/contract-host.ts";
import { install } from "../system/installed.ts";
import { areCurrent } from "../system/look.ts";
import { type Machine, makeMachine } from "../system/machine.ts";
import { put } from "../system/put.ts";
import { cpuOf, memoryOf, restOf } from "./process-figures.ts";
import { formatTable, median, type Row } from "./table.ts";

const IDLE = 120 * SECOND;
const STARTS = 5;

await using installed = await install();
await using host = await makeContractHost(await makeMachine(installed.machines, installed.layers));
const { machine } = host;
await machine.sh("systemctl start certagent");
await host.until("all are current", areCurrent);
const starts = await startTimes(machine);
await host.until("all are current", areCurrent);
await machine.sh("while systemctl show -P ActiveState certagent-apply | grep -qx activating; do sleep 0.2; done");
await startStep(machine);
await pause(10 * SECOND);
const ours = await figuresOf(machine, ["certagent"]);
const theirs = await figuresOf(
  machine,
  FIVE.map((name) => `step-renew@${name}`),
);
process.stdout.write(`five certificates, one process of certagent, five of step\n\n${formatTable(rows())}\n`);

function rows(): readonly Row[] {
  const name = "step ca renew --daemon, five units";
  const both = (figure: string, unit: string, of: keyof Figures): Row => ({
    figure,
    unit,
    certagent: ours[of],
    baseline: { name, value: theirs[of] },
  });
  return [
    both("memory, resident", "MB", "rss"),
    both("memory, its share", "MB", "pss"),
    both("memory, private and dirty", "MB", "dirty"),
    both("wake-ups at rest", "/min", "wakeUps"),
    both("processor time from the start on", "ms", "cpu"),
    { figure: "start until it is ready", unit: "ms", certagent: median(starts) },
  ];
}

/** From systemd's start of the process to READY=1, in milliseconds. */
async function startTimes(of: Machine): Promise<readonly number[]> {
  const times: number[] = [];
  for (let start = 0; start < STARTS; start += 1) {
    await of.sh("systemctl restart certagent");
    const shown = await of.sh(
      "systemctl show -P ExecMainStartTimestampMonotonic -P ActiveEnterTimestampMonotonic certagent",
    );
    const [first = 0, second = 0] = shown.split("\n").filter(Boolean).map(Number);
    times.push(Math.abs(second - first) / 1000);
  }
  return times;
}

async function startStep(of: Machine): Promise<void> {
  const renew = "/usr/local/bin/step ca renew --daemon --force --ca-url https://ca.internal:9000";
  const unit = `[Service]\nEnvironmentFile=/etc/step-renew/%i\nExecStart=${renew} --root /etc/certagent/root_ca.crt $CRT $KEY\n`;
  await put(of, "/etc/systemd/system/step-renew@.service", unit);
  for (const name of FIVE) {
    const [certificate, key] = FILES[name];
    const copy = `/etc/step-renew/pairs/${name}`;
    await of.sh(`mkdir -p ${copy}; cp -L ${certificate} ${copy}/crt; cp -L ${key} ${copy}/key`);
    await put(of, `/etc/step-renew/${name}`, `CRT=${copy}/crt\nKEY=${copy}/key\n`);
  }
  await of.sh(`systemctl daemon-reload; systemctl start ${FIVE.map((name) => `step-renew@${name}`).join(" ")}`);
}

interface Figures {
  readonly rss: number;
  readonly pss: number;
  readonly dirty: number;
  readonly cpu: number;
  readonly wakeUps: number;
}

/** The sums over the main processes of units. */
async function figuresOf(of: Machine, units: readonly string[]): Promise<Figures> {
  const each = await Promise.all(
    units.map(async (unit): Promise<Figures> => {
      const pid = outside(of, Number(await of.sh(`systemctl show -P MainPID ${unit}`)));
      const cpu = cpuOf(pid);
      const { wakeUps } = await restOf(pid, IDLE);
      const { rss, pss, dirty } = memoryOf(pid);
      return { rss: rss / 1024, pss: pss / 1024, dirty: dirty / 1024, cpu, wakeUps };
    }),
  );
  const sum = (of: keyof Figures): number => each.reduce((total, figures) => total + figures[of], 0);
  return { rss: sum("rss"), pss: sum("pss"), dirty: sum("dirty"), cpu: sum("cpu"), wakeUps: sum("wakeUps") };
}

/** The number by which this machine knows a process of another one. */
function outside(of: Machine, inside: number): number {
  const namespace = readlinkSync(`/proc/${of.init}/ns/pid`);
  const found = readdirSync("/proc").find((name) => {
    if (!/^\d+$/.test(name)) return false;
    try {
      const numbers = /^NSpid:(.*)$/m.exec(readFileSync(`/proc/${name}/status`, "utf8"))?.[1] ?? "";
      return Number(numbers.trim().split("\t").at(-1)) === inside && readlinkSync(`/proc/${name}/ns/pid`) === namespace;
    } catch {
      return false; // it has just ended
    }
  });
  if (found === undefined) throw new Error(`there is no process ${inside} in the machine`);
  return Number(found);
}
