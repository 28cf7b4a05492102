import type { Figures, Scale } from "./measure.ts";
import type { Memory } from "./process-figures.ts";
import type { Row } from "./table.ts";

const MB = 1000;

/** The figures with their baselines, and with what is to be reached with a hundred specs. */
export function rowsOf(
  { specs }: Scale,
  { minted, one, all, plain, drop, rest, step, bareNode }: Figures,
): readonly Row[] {
  const daemons = (count: number): string => `${count} × step ca renew --daemon`;
  const memory = (when: string, found: Memory, count: number, reach: Partial<Memory> = {}): readonly Row[] =>
    (["rss", "pss", "dirty"] as const).map((kind) => ({
      figure: `${LABELS[kind]}, ${when}`,
      certagent: found[kind] / MB,
      unit: "MB",
      baseline: { name: daemons(count), value: (step.memory[kind] * count) / specs / MB },
      reach: reach[kind],
    }));
  return [
    ...memory("1 spec, after its renewal", one.renewed, 1),
    ...memory(`${specs} specs, after a start`, all.idle, specs),
    ...memory(`${specs} specs, after a start and a renewal of all`, all.renewed, specs, { rss: 84, dirty: 32 }),
    ...memory(`${specs} specs, in the process that minted them`, minted, specs, { rss: 96, dirty: 42 }),
    {
      figure: "a further idle spec, private dirty",
      certagent: (all.idle.dirty - one.idle.dirty) / (specs - 1),
      unit: "kB",
      baseline: { name: daemons(1), value: step.memory.dirty / specs },
      reach: 20,
    },
    {
      figure: "processor time of a renewal, files alone",
      certagent: plain.cpu,
      unit: "ms",
      baseline: { name: "step ca renew", value: step.cpu },
      reach: 8,
    },
    {
      figure: "processor time of a renewal, nginx reloaded and proven",
      certagent: all.cpu,
      unit: "ms",
      baseline: { name: "step ca renew, which proves nothing", value: step.cpu },
      reach: 8,
    },
    {
      figure: "a spec dropped → proven",
      certagent: drop.proven,
      unit: "ms",
      baseline: { name: "the CA's time to sign + nginx's to reload", value: drop.others },
    },
    {
      figure: `start → READY, ${specs} specs`,
      certagent: all.ready,
      unit: "ms",
      baseline: { name: "Node alone, start → end", value: bareNode },
      reach: 250,
    },
    { figure: `SIGHUP: ${specs} renewed, deployed and proven`, certagent: all.renewal / 1000, unit: "s", reach: 10 },
    { figure: "renewals a second, deployed and proven", certagent: (specs * 1000) / all.renewal, unit: "/s" },
    { figure: "renewals a second, files alone", certagent: (specs * 1000) / plain.renewal, unit: "/s" },
    { figure: `wake-ups a minute, ${specs} idle specs: bursts of work`, certagent: rest.wakeUps, unit: "", reach: 4 },
    { figure: "voluntary context switches of the main thread in these", certagent: rest.sleeps, unit: "" },
  ];
}

const LABELS: Readonly<Record<keyof Memory, string>> = { rss: "RSS", pss: "PSS", dirty: "private dirty" };
