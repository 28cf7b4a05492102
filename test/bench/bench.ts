/**
 * `npm run bench`: what certagent costs, beside what it is measured against on the same machine in the same run. Times
 * on a machine that does other things mean little, so figures are medians of several runs and the ratios count; nothing
 * here passes or fails.
 *
 * `--quick` a few certificates and seconds, to see that the bench itself works · `--json` · `--bundle FILE` another build
 * · `--part NAME` (repeated) these figures alone: minted, all, one, plain, many, apart, drop, rest, step
 */
import { availableParallelism, loadavg } from "node:os";
import { parseArgs } from "node:util";
import { SECOND } from "../../src/base/time.ts";
import { measure, PARTS, type Scale } from "./measure.ts";
import { SHIPPED } from "./measured-agent.ts";
import { rowsOf } from "./rows.ts";
import { formatTable } from "./table.ts";

const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    bundle: { type: "string", default: SHIPPED },
    part: { type: "string", multiple: true, default: [...PARTS] },
  },
});
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
