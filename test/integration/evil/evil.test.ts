/**
 * Every way in which a CA can be wrong, each by a CA of its own, all at once, against one real program: nothing invalid
 * replaces what is valid, each failure is named, no CA is asked more often than the back-off allows, and one that is
 * well is not delayed by thirty that are not.
 */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Instant, MINUTE, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { type Agent, type Certificates, type Home, makeHome, startAgent } from "../../servers/program.ts";
import { EVIL, type Evil } from "./faults.ts";

/** Dated back so far that the window comes within seconds; what counts for all delays is the whole. */
const BACKDATE = 24 * SECOND;
const LIFETIME = MINUTE;
/** The longest time from the switching on of faults to the end of the window, and some to watch the back-off in. */
const WATCHED = 26 * SECOND;
const SHORTEST_DELAY = Math.min(30 * SECOND, LIFETIME / 120);

interface Case {
  readonly name: string;
  readonly ca: DevCa;
  readonly files: readonly [string, string];
  /** When its CA began to be wrong. */
  since: Instant;
  /** What stood on disk when its first failure showed. */
  valid: { readonly generation: number | undefined; readonly bytes: readonly Buffer[] } | undefined;
}

let home: Home;
let agent: Agent;
const cases = new Map<string, Case>();
let afterwards: Certificates;
const bytesAfterwards = new Map<string, readonly Buffer[]>();
let healed: Certificates;
let memory: { readonly before: number; readonly after: number };

beforeAll(async () => {
  home = await makeHome();
  for (const name of ["well", ...EVIL.map((evil) => evil.name)]) cases.set(name, await addCase(name));
  await home.configure({ issuers: Object.fromEntries(await Promise.all([...cases.values()].map(issuerOf))) });
  agent = await startAgent(home);
  await agent.until("all are current", isAllCurrent);
  await misbehave();
  afterwards = await watch();
  for (const one of cases.values()) bytesAfterwards.set(one.name, await contents(one));
  memory = { ...memory, after: await peakMemory() };
  for (const { ca } of cases.values()) ca.faults = {};
  healed = await agent.until("all recover", isAllCurrent);
});
afterAll(async () => {
  await agent?.[Symbol.asyncDispose]();
  await Promise.all([...cases.values()].map(({ ca }) => ca.stop()));
  await home[Symbol.asyncDispose]();
});

async function addCase(name: string): Promise<Case> {
  const ca = await startDevCa({ policy: { lifetime: LIFETIME - BACKDATE, backdate: BACKDATE } });
  const files = [join(home.folder, `${name}.pem`), join(home.folder, `${name}.key`)] as const;
  const outputs = [
    { format: "fullchain", path: files[0] },
    { format: "key", path: files[1] },
  ];
  const spec = { issuer: name, subject: `${name}.internal`, sans: [`${name}.internal`, `${name}.example`], outputs };
  await home.write(name, JSON.stringify(spec));
  return { name, ca, files, since: 0, valid: undefined };
}

async function issuerOf({ name, ca }: Case): Promise<[string, unknown]> {
  const at = (kind: string): string => join(home.folder, `${name}.${kind}`);
  await writeFile(at("root"), ca.root.pem);
  await writeFile(at("jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: at("jwk") } };
  // Where the deadline is what is seen, it comes soon; otherwise a busy machine may take its time.
  const message = EVIL.find((evil) => evil.name === name)?.failure?.message;
  const timeout = message?.source.includes("deadline") === true ? "3s" : "20s";
  return [name, { type: "step-ca", url: ca.url, root: { file: at("root") }, provisioner, timeout }];
}

function isAllCurrent(all: Certificates): boolean {
  return cases.size === all.size && [...all.values()].every(({ state, failure }) => state === "current" && !failure);
}

async function misbehave(): Promise<void> {
  memory = { before: await peakMemory(), after: 0 };
  for (const { name, faults } of EVIL) {
    const one = caseOf(name);
    // What it may be answering just now is still right.
    one.since = systemClock.now() + SECOND;
    one.ca.faults = faults;
  }
}

/** Until all windows are over; what stands on disk when a failure first shows has to stay. */
async function watch(): Promise<Certificates> {
  const end = systemClock.now() + WATCHED;
  for (;;) {
    const all = await agent.until("anything", () => true);
    for (const one of cases.values()) {
      const status = all.get(one.name);
      if (one.valid !== undefined || status?.failure == null) continue;
      one.valid = { generation: status.leaf?.generation, bytes: await contents(one) };
    }
    if (systemClock.now() > end) return all;
    await pause(100);
  }
}

function caseOf(name: string): Case {
  const found = cases.get(name);
  if (found === undefined) throw new Error(`no case ${name}`);
  return found;
}

async function contents({ files }: Case): Promise<readonly Buffer[]> {
  return await Promise.all(files.map((file) => readFile(file)));
}

/** In MiB. */
async function peakMemory(): Promise<number> {
  const status = await readFile(`/proc/${agent.pid}/status`, "utf8");
  return Number(/^VmHWM:\s+(\d+)/m.exec(status)?.[1]) / 1024;
}

/** The most attempts that fit into the time that was watched. */
const MOST_ATTEMPTS = 1 + WATCHED / SHORTEST_DELAY;

/** The most that fell into one span. */
function densest(times: readonly Instant[], span: number): number {
  return Math.max(0, ...times.map((from) => times.filter((at) => at >= from && at < from + span).length));
}

const isIssuance = ({ path, status }: { path: string; status: number }): boolean => {
  return (path === "/renew" || path === "/sign") && status < 300;
};

describe.each(EVIL.filter((evil) => evil.failure !== undefined))("a CA that is $name", (evil: Evil) => {
  const { name, failure, requests, issues } = evil;

  test("is named in status, and the pair of before is what stands on disk", () => {
    const status = afterwards.get(name);

    const message = expect.stringMatching(failure?.message ?? "");
    expect(status?.failure).toMatchObject({ code: failure?.code, message });
    expect(status?.failure?.message).not.toMatch(/PRIVATE KEY-----|[\p{Cc}\p{Cf}]/u);
    expect(status?.outputs.map(({ state }) => state)).toEqual(["current", "current"]);
    expect(status?.leaf?.generation).toBe(caseOf(name).valid?.generation);
    expect(bytesAfterwards.get(name)).toEqual(caseOf(name).valid?.bytes);
  });

  test("is asked no more often than the back-off allows", () => {
    const { ca, since } = caseOf(name);
    const asked = ca.requests.filter(({ at }) => at > since && at < since + WATCHED);

    expect(asked.length).toBeLessThanOrEqual(MOST_ATTEMPTS * requests);
    if (name !== "down") expect(asked.length).toBeGreaterThan(1);
    if (issues !== true) return;
    const issued = asked.filter(isIssuance).map(({ at }) => at);
    expect(issued.length).toBeGreaterThan(3);
    expect(densest(issued, LIFETIME / 6)).toBeLessThanOrEqual(3);
    const alarm = new RegExp(`^<4>.*certificate=${name} .*held by the storm breaker`);
    expect(agent.journal().filter((line) => alarm.test(line))).not.toEqual([]);
  });
});

test.each(EVIL.filter((evil) => evil.failure === undefined))("a CA that is $name is as good as another", ({ name }) => {
  expect(afterwards.get(name)).toMatchObject({ state: expect.stringMatching(/current|renewing/), failure: null });
  expect(afterwards.get(name)?.leaf?.generation).toBeGreaterThan(1);
});

test("a CA that is well is not delayed by all the others", () => {
  expect(afterwards.get("well")).toMatchObject({ state: expect.stringMatching(/current|renewing/), failure: null });
  expect(afterwards.get("well")?.leaf?.generation).toBeGreaterThan(1);
});

test("no answer costs memory, and every certificate recovers when its CA does", () => {
  expect(memory.after - memory.before).toBeLessThan(48);
  expect(healed.size).toBe(EVIL.length + 1);
});

test("no CA's words make a line of the journal", () => {
  expect(agent.journal().filter((line) => !/^<[3467]>/.test(line))).toEqual([]);
  expect(agent.journal().filter((line) => line.startsWith("<3>FORGED"))).toEqual([]);
});
