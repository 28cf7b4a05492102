import { mkdir, mkdtempDisposable, readdir, readFile, stat, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { NO_FACTS } from "../../../src/core/facts.ts";
import { ownersIn, readFacts, readFactsOf, writeFacts } from "../../../src/store/facts.ts";
import { facts, NOW, proof, streak } from "../core/given.ts";

const full = facts({
  issuances: [NOW],
  failures: { issue: streak({ hint: "look", retryAt: NOW }), apply: null, prove: streak({ code: "SERVICE_DOWN" }) },
  proofs: [proof(), null, proof({ fingerprint: null, generation: null, address: null, proven: false })],
  repairs: [{ path: "/etc/web.crt", at: NOW }],
  deployed: ["/etc/web.crt"],
  paused: { since: NOW, because: "revoked" },
});

async function open() {
  const home = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  return { path: join(home.path, "facts", "web.json"), [Symbol.asyncDispose]: home.remove };
}

test("facts are read again as they were written, and only their owner can read them", async () => {
  await using state = await open();

  await writeFacts(state.path, full);

  expect(await readFacts(state.path)).toEqual(full);
  expect((await stat(state.path)).mode & 0o777).toBe(0o600);
});

test("facts of a version that wrote no issuer are understood", async () => {
  await using state = await open();
  await writeFacts(state.path, full);
  await writeFile(state.path, (await readFile(state.path, "utf8")).replace(/"issuer":"[^"]*",/, ""));

  expect(await readFacts(state.path)).toEqual({ ...full, issuer: null });
});

test("facts that were never written are none, without a copy of anything", async () => {
  await using state = await open();

  expect(await readFacts(state.path)).toEqual(NO_FACTS);
  expect(await readdir(dirname(dirname(state.path)))).toEqual([]);
});

const unreadable: readonly { readonly title: string; readonly damage: (text: string) => string }[] = [
  { title: "torn", damage: (text) => text.slice(0, -20) },
  { title: "empty", damage: () => "" },
  { title: "no JSON", damage: () => "\u0000\u0001\u0002" },
  { title: "JSON of another kind", damage: () => "[]" },
  { title: "of a later schema", damage: (text) => text.replace('"schema":1', '"schema":99') },
  { title: "without a field", damage: (text) => text.replace(/"issuances":\[[^\]]*\],/, "") },
  { title: "with an instant that is no date", damage: (text) => text.replace(/"since":\d+/, '"since":1e300') },
  { title: "with a code that is not known", damage: (text) => text.replace("SERVICE_DOWN", "SERVICE_LOST") },
];

test.each(unreadable)("facts that are $title are none, and are set aside", async ({ damage }) => {
  await using state = await open();
  await writeFacts(state.path, full);
  const damaged = damage(await readFile(state.path, "utf8"));
  await writeFile(state.path, damaged);

  expect(await readFacts(state.path)).toEqual(NO_FACTS);

  expect(await readFile(`${state.path}.unreadable`, "utf8")).toBe(damaged);
});

test("a link, a folder or a monster of a file where facts should be is none", async () => {
  await using state = await open();
  await mkdir(state.path, { recursive: true });
  expect(await readFacts(state.path)).toEqual(NO_FACTS);

  const large = `${state.path}.large`;
  await writeFile(large, "x".repeat(2 * 1024 * 1024));
  expect(await readFacts(large)).toEqual(NO_FACTS);
});

test("of two specs that have deployed one path the one that was last at work has it", async () => {
  await using state = await open();
  const folder = dirname(state.path);
  await writeFacts(join(folder, "new.json"), facts({ deployed: ["/etc/web.crt"], writtenAt: NOW }));
  await writeFacts(join(folder, "old.json"), facts({ deployed: ["/etc/web.crt"], writtenAt: NOW - 1 }));

  expect(ownersIn(await readFactsOf(["new", "old"], (name) => join(folder, `${name}.json`)))).toEqual(
    new Map([["/etc/web.crt", "new"]]),
  );
});

test("who has deployed which path is known from facts, damaged and missing ones left out", async () => {
  await using state = await open();
  const folder = dirname(state.path);
  await writeFacts(join(folder, "web.json"), facts({ deployed: ["/etc/web.crt", "/etc/web.key"] }));
  await writeFacts(join(folder, "db.json"), facts({ deployed: ["/etc/db.crt"] }));
  await writeFile(join(folder, "torn.json"), "{");

  const read = await readFactsOf(["web", "db", "torn", "missing"], (name) => join(folder, `${name}.json`));

  expect(ownersIn(read)).toEqual(
    new Map([
      ["/etc/web.crt", "web"],
      ["/etc/web.key", "web"],
      ["/etc/db.crt", "db"],
    ]),
  );
});

test("a folder of large files takes no more memory than a few of them", async () => {
  await using state = await open();
  const folder = dirname(state.path);
  await mkdir(folder);
  const pathOf = (name: string): string => join(folder, `${name}.json`);
  for (let number = 0; number < 600; number++) {
    const file = pathOf(`made-up-${number}`);
    await writeFile(file, "");
    await truncate(file, 1024 * 1024);
  }
  const before = process.resourceUsage().maxRSS;

  await readFactsOf(
    Array.from({ length: 600 }, (_, number) => `made-up-${number}`),
    pathOf,
  );

  expect(process.resourceUsage().maxRSS - before).toBeLessThan(300 * 1024); // KiB; 600 MiB where all are read at one time
});
