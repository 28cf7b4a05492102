import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sha256 } from "../../../src/core/hash.ts";
import { formatProblem } from "../../../src/spec/problem.ts";
import { FACTS, specText, type World, worldIn } from "./world.ts";

/** Has certagent itself have written something else of the texts. */
async function rewrite({ lastGood }: World, change: (json: string) => string): Promise<void> {
  const file = join(lastGood, "parsed.json");
  const [, json = ""] = (await readFile(file, "utf8")).split("\n");
  const changed = change(json);
  expect(changed).not.toBe(json);
  await writeFile(file, `${sha256(changed)}\n${changed}`);
}

/** Has the file tell something else of a text than the text does: so it shows who was asked. */
async function tamper(world: World, from: string, to: string): Promise<void> {
  await rewrite(world, (json) => json.replaceAll(from, to));
}

async function subjectOf(world: World, name = "web"): Promise<string | undefined> {
  const { specs } = await world.read();
  expect(specs.get(name)).toMatchObject({ problems: [], usingLastGood: false });
  return specs.get(name)?.desired?.request.subject;
}

test("a text that was parsed before is not parsed again after a restart", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  const before = await world.read();

  await world.restart();
  expect((await world.read()).specs.get("web")?.desired).toEqual(before.specs.get("web")?.desired);
  await tamper(world, "web.internal", "known.internal");
  await world.restart();

  expect(await subjectOf(world)).toBe("known.internal");
});

test.each([
  ["another version", { version: "2" }],
  ["another name of the host", { facts: { ...FACTS, fqdn: "vm2.internal" } }],
])("%s parses it again", async (_, as) => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();
  await tamper(world, "web.internal", "known.internal");

  await world.restart(as);

  expect(await subjectOf(world)).toBe("web.internal");
});

test("an edited text is parsed, and is then the one that is known", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();
  await world.write("web", specText("new.internal", "/srv/web"));

  expect(await subjectOf(world)).toBe("new.internal");
  await tamper(world, "new.internal", "known.internal");
  await world.restart();

  expect(await subjectOf(world)).toBe("known.internal");
});

test.each([
  ["torn", (text: string) => text.slice(0, text.length / 2)],
  ["empty", () => ""],
  ["of another kind", () => '[null, {"web": 3}]'],
  ["damaged in one letter", (text: string) => text.replace("/srv/web", "/Srv/web")],
  ["without a digest", (text: string) => text.split("\n")[1] ?? ""],
])("a file of parsed texts that is %s costs nothing but time", async (_, damage) => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  const { desired } = (await world.read()).specs.get("web") ?? {};
  const file = join(world.lastGood, "parsed.json");
  const text = await readFile(file, "utf8");
  await writeFile(file, damage(text));

  await world.restart();

  expect((await world.read()).specs.get("web")).toMatchObject({ problems: [], desired });
  expect(await readFile(file, "utf8")).toBe(text);
});

test.each([
  ["wrong about every text", (text: string) => text.replaceAll("outputs", "output")],
  ["null for every text", (text: string) => text.replaceAll(/"data":".*?[^\\]",/g, '"data":"null",')],
  ["torn for every text", (text: string) => text.replaceAll(/"data":".*?[^\\]",/g, '"data":"{",')],
])("what another certagent of this version has kept, %s, costs nothing but time", async (_, change) => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();
  await rewrite(world, change);

  await world.restart();

  expect(await subjectOf(world)).toBe("web.internal");
});

test("what is complained of has its place, whether it was parsed before or not", async () => {
  await using world = await worldIn();
  await world.write("a", specText("a.internal", "/srv/a"));
  await world.write("b", specText("b.internal", "/srv/b"));
  await world.read();
  await world.write("b", specText("b.internal", "/srv/a"));
  const problems = async () => (await world.read()).specs.get("b")?.problems.map(formatProblem);
  const first = await problems();
  await rm(join(world.lastGood, "specs"), { recursive: true });

  await world.restart();

  expect(first?.[0]).toMatch(/^\S+\/b\.yaml:3:32: /);
  expect(await problems()).toEqual(first);
});

test("what is wrong is never kept, nor what belongs to a spec that has gone", async () => {
  await using world = await worldIn();
  await world.write("gone", specText("gone.internal", "/srv/gone"));
  await world.write("wrong", "subject: wrong.internal\n");
  await world.read();
  await rm(world.file("gone"));
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  const [, json = ""] = (await readFile(join(world.lastGood, "parsed.json"), "utf8")).split("\n");
  const kept = Object.keys(JSON.parse(json) as object);

  expect(kept.toSorted()).toEqual([world.file("web"), world.hostFile].toSorted());
});

test("whoever only looks writes nothing", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.restart({ readOnly: true });

  expect(await subjectOf(world)).toBe("web.internal");
  await expect(readFile(join(world.lastGood, "parsed.json"))).rejects.toThrow("ENOENT");
});
