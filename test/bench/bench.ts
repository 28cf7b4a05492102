/**
 * `npm run bench`: what certagent costs, beside what it is measured against on the same machine in the same run. Times
 * on a machine that does other things mean little, so figures are medians of several runs and the ratios count; nothing
 * here passes or fails.
 */
import { availableParallelism, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { SECOND } from "../../src/base/time.ts";
import { measure, PARTS, type Scale } from "./measure.ts";
import { SHIPPED } from "./measured-agent.ts";
import { rowsOf } from "./rows.ts";
import { formatTable } from "./table.ts";

const USAGE = `Usage: npm run bench -- [--quick] [--json] [--bundle FILE] [--part NAME ...]

  --quick        a few certificates and seconds, to see that the bench itself works
  --json         for scripts
  --bundle FILE  another build
  --part NAME    these figures alone: ${PARTS.join(", ")}`;

const values = options();
if (values.help) {
  console.log(USAGE);
  process.exit();
}
const { bundle } = values;
const parts = new Set(PARTS.filter((part) => values.part.includes(part)));
const scale: Scale = values.quick
  ? { specs: 5, rounds: 1, idle: 5 * SECOND, bundle, parts }
  : { specs: 100, rounds: 3, idle: 120 * SECOND, bundle, parts };
const machine = { node: process.version, processors: availableParallelism(), load: loadavg()[0] ?? 0 };
const figures = await measure(scale, (step) => process.stderr.write(`bench: ${step}\n`));
const rows = rowsOf(scale, figures);

if (values.json) process.stdout.write(`${JSON.stringify({ ...machine, specs: scale.specs, rows }, null, 2)}\n`);
else {
  const about = `Node ${machine.node}, ${machine.processors} processors, load ${machine.load.toFixed(1)} before`;
  process.stdout.write(`${about}; medians of ${scale.rounds}\n\n${formatTable(rows)}\n`);
}

function options() {
  try {
    const { values } = parseArgs({
      options: {
        quick: { type: "boolean", default: false },
        json: { type: "boolean", default: false },
        bundle: { type: "string", default: SHIPPED },
        part: { type: "string", multiple: true, default: [...PARTS] },
        help: { type: "boolean", default: false },
      },
    });
    const unknown = values.part.find((part) => !PARTS.some((known) => known === part));
    if (unknown !== undefined) throw new TypeError(`There is no part "${unknown}"`);
    return values;
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : error}\n\n${USAGE}`);
    process.exit(2);
  }
}
