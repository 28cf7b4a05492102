import type { Figures, Scale } from "./measure.ts";
import type { Memory } from "./process-figures.ts";
import type { Row } from "./table.ts";

const MB = 1000;

/** What was not measured is NaN; rows of it are left out. */
const measured = (value: number | undefined): number => value ?? Number.NaN;

/** The figures with their baselines, and with what is to be reached with a hundred specs. */
export function rowsOf(
  { specs }: Scale,
  { minted, one, all, plain, many, apart, drop, rest, step, bareNode }: Figures,
): readonly Row[] {
  const daemons = (count: number): string => `${count} × step ca renew --daemon`;
  const memory = (
    when: string,
    found: Memory | undefined,
    count: number,
    reach: Partial<Memory> = {},
  ): readonly Row[] =>
    (["rss", "pss", "dirty"] as const).map((kind) => ({
      figure: `${LABELS[kind]}, ${when}`,
      certagent: measured(found?.[kind]) / MB,
      unit: "MB",
      baseline: { name: daemons(count), value: (measured(step?.memory[kind]) * count) / specs / MB },
      reach: reach[kind],
    }));
  const rows: readonly Row[] = [
    ...memory("1 spec, after its renewal", one?.renewed, 1),
    ...memory(`${specs} specs, after a start`, all?.idle, specs),
    ...memory(`${specs} specs, after a start and a renewal of all`, all?.renewed, specs, { rss: 84, dirty: 32 }),
    ...memory(`${specs} specs, in the process that minted them`, minted, specs, { rss: 96, dirty: 42 }),
    {
      figure: "a further idle spec, private dirty",
      certagent: (measured(all?.idle.dirty) - measured(one?.idle.dirty)) / (specs - 1),
      unit: "kB",
      baseline: { name: daemons(1), value: measured(step?.memory.dirty) / specs },
      reach: 20,
    },
    {
      figure: `… ${3 * specs} against ${specs}, files alone`,
      certagent: (measured(many?.dirty) - measured(plain?.idle.dirty)) / (2 * specs),
      unit: "kB",
      baseline: { name: daemons(1), value: measured(step?.memory.dirty) / specs },
      reach: 20,
    },
    {
      figure: "processor time of a renewal, files alone",
      certagent: measured(plain?.cpu),
      unit: "ms",
      baseline: { name: "step ca renew", value: measured(step?.cpu) },
      reach: 8,
    },
    {
      figure: "processor time of a renewal, nginx reloaded and proven",
      certagent: measured(all?.cpu),
      unit: "ms",
      baseline: { name: "step ca renew, which proves nothing", value: measured(step?.cpu) },
      reach: 8,
    },
    ...[
      {
        figure: `two processes, ${specs} renewals at one time, files alone: the agent`,
        cpu: apart?.all.agent,
        reach: 8,
      },
      { figure: "… the root side, its starts included", cpu: apart?.all.root },
      { figure: "two processes, a renewal by itself: the agent", cpu: apart?.one.agent },
      { figure: "… the root side, its start included", cpu: apart?.one.root },
    ].map(({ figure, cpu, reach }) => ({
      figure,
      certagent: measured(cpu),
      unit: "ms",
      baseline: { name: "step ca renew", value: measured(step?.cpu) },
      reach,
    })),
    {
      figure: "a spec dropped → proven",
      certagent: measured(drop?.proven),
      unit: "ms",
      baseline: { name: "the CA's time to sign + nginx's to reload", value: measured(drop?.others) },
    },
    {
      figure: `start → READY, ${specs} specs`,
      certagent: measured(all?.ready),
      unit: "ms",
      baseline: { name: "Node alone, start → end", value: bareNode },
      reach: 250,
    },
    {
      figure: "… processor time until then",
      certagent: measured(all?.readyCpu),
      unit: "ms",
      baseline: { name: "Node alone, start → end", value: bareNode },
    },
    {
      figure: `SIGHUP: ${specs} renewed, deployed and proven`,
      certagent: measured(all?.renewal) / 1000,
      unit: "s",
      reach: 10,
    },
    {
      figure: "renewals a second, deployed and proven",
      certagent: (specs * 1000) / measured(all?.renewal),
      unit: "/s",
    },
    { figure: "renewals a second, files alone", certagent: (specs * 1000) / measured(plain?.renewal), unit: "/s" },
    {
      figure: `wake-ups a minute, ${specs} idle specs: bursts of work`,
      certagent: measured(rest?.wakeUps),
      unit: "",
      reach: 4,
    },
    { figure: "voluntary context switches of the main thread in these", certagent: measured(rest?.sleeps), unit: "" },
  ];
  return rows.filter(({ certagent }) => !Number.isNaN(certagent));
}

const LABELS: Readonly<Record<keyof Memory, string>> = { rss: "RSS", pss: "PSS", dirty: "private dirty" };
