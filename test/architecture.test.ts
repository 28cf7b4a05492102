import { glob, readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { conditionsOnMode, type Source, violations } from "./architecture/rules.ts";

const SRC = join(import.meta.dirname, "..", "src");

async function sources(): Promise<readonly Source[]> {
  const paths = await Array.fromAsync(glob("**/*.ts", { cwd: SRC, exclude: ["**/*.d.ts"] }));
  return Promise.all(paths.toSorted().map(async (path) => ({ path, text: await readFile(join(SRC, path), "utf8") })));
}

test("the sources keep the import table and the invariants", async () => {
  const files = await sources();

  expect(files.length).toBeGreaterThan(20);
  expect(violations(files)).toEqual([]);
});

test("no test depends on how outputs are written", async () => {
  const paths = await Array.fromAsync(glob("**/*.ts", { cwd: import.meta.dirname }));
  const tests = paths.map(async (path) => ({ path, text: await readFile(join(import.meta.dirname, path), "utf8") }));

  expect(paths.length).toBeGreaterThan(100);
  expect(conditionsOnMode(await Promise.all(tests))).toEqual([]);
});

/** What is planted → where, its text, and the line that must be complained of (none: it is allowed there). */
const PLANTED: readonly [what: string, path: string, text: string, line: number | undefined][] = [
  ["base importing core", "base/a.ts", 'import { x } from "../core/x.ts";', 1],
  ["core importing a type of agent", "core/a.ts", '\nimport type { X } from "../agent/x.ts";', 2],
  ["core importing base", "core/a.ts", 'import { x } from "../base/x.ts";', undefined],
  ["one family importing another", "services/a.ts", 'import { x } from "../probes/tls.ts";', 1],
  ["spec importing a family", "spec/a.ts", 'import { x } from "../probes/index.ts";', undefined],
  ["agent importing apply", "agent/a.ts", 'import { x } from "../apply/x.ts";', 1],
  ["apply importing agent lazily", "apply/a.ts", 'const x = () => import("../agent/x.ts");', 1],
  ["devca importing core", "devca/a.ts", 'import { x } from "../core/x.ts";', 1],
  ["cli importing everything", "cli/a.ts", 'import { x } from "../devca/x.ts";', undefined],
  ["anything importing main", "agent/a.ts", 'import { x } from "../main.ts";', 1],
  ["a folder that nobody knows", "extra/a.ts", 'import { x } from "../base/x.ts";', 1],
  ["fs in core", "core/a.ts", 'import { readFile } from "node:fs/promises";', 1],
  ["net in formats", "formats/a.ts", 'import type { Socket } from "node:net";', 1],
  ["fs in store", "store/a.ts", 'import { readFile } from "node:fs/promises";', undefined],
  ["Date.now in core", "core/a.ts", "const a = 1;\nconst b = Date.now();", 2],
  ["Date.now over globalThis", "core/a.ts", "const b = globalThis.Date.now();", 1],
  ["the present as a date", "core/a.ts", "const b = new Date();", 1],
  ["a date from a number", "core/a.ts", "const b = new Date(0);", undefined],
  ["a timer in agent", "agent/a.ts", "setTimeout(() => undefined, 5);", 1],
  ["a timer in base/time.ts", "base/time.ts", "setTimeout(() => undefined, 5);", undefined],
  ["timers from their module", "agent/a.ts", 'import { setTimeout as x } from "node:timers/promises";', 1],
  ["a method of that name", "probes/a.ts", "socket.setTimeout(5);", undefined],
  [
    "the words in a comment and a string",
    "core/a.ts",
    '// Date.now()\nconst a = "Math.random() process.env";',
    undefined,
  ],
  ["dice", "base/a.ts", "const a = Math.random();", 1],
  ["the environment in cli", "cli/a.ts", "const a = process.env.HOME;", 1],
  ["the environment taken apart", "cli/a.ts", "const { env } = process;", 1],
  ["arguments from node:process", "cli/a.ts", 'import { argv } from "node:process";', 1],
  ["process.exit in agent", "agent/a.ts", "process.exit(1);", 1],
  ["the environment in main", "main.ts", "const a = process.env.HOME;", undefined],
  ["child_process in services", "services/a.ts", 'import { spawn } from "node:child_process";', 1],
  ["child_process in base/run.ts", "base/run.ts", 'import { spawn } from "node:child_process";', undefined],
  ["rename by import", "store/a.ts", 'import { rename } from "node:fs/promises";', 1],
  ["rename by module", "store/a.ts", 'import * as fs from "node:fs";\nfs.renameSync("a", "b");', 2],
  ["a condition on the mode", "cli/a.ts", 'if (world.mode === "broker") go();', 1],
  ["the same the other way round", "agent/a.ts", 'const a = "direct" != apply;', 1],
  ["the same in a template", "agent/a.ts", "const a = apply === `direct`;", 1],
  ["a case of the mode", "apply/a.ts", 'switch (mode) {\n  case "direct":\n    break;\n}', 2],
  ["a table of modes that is asked by a word", "cli/a.ts", "const a = modes.broker;", 1],
  ["a table of modes that is asked by a text", "cli/a.ts", 'const a = modes["direct"];', 1],
  ["a table of modes that is asked by the option", "cli/a.ts", "const a = modes[option];", undefined],
  ["the words of the option", "cli/a.ts", 'const choices = ["direct", "broker"];', undefined],
  ["the mode in main", "main.ts", 'const a = mode === "direct";', undefined],
  ["a log in store", "store/a.ts", 'import type { Log } from "../base/log.ts";', 1],
  ["a log in agent", "agent/a.ts", 'import type { Log } from "../base/log.ts";', undefined],
  ["console", "cli/a.ts", 'console.log("x");', 1],
  ["a default export", "core/a.ts", "export default 1;", 1],
  ["a barrel", "core/a.ts", 'export * from "./b.ts";', 1],
  ["a named re-export", "core/a.ts", 'export { b } from "./b.ts";', 1],
  ["a family's list", "probes/index.ts", 'export { b } from "./b.ts";', undefined],
  ["a subclass", "core/a.ts", "class A extends B {}", 1],
  ["an error of its own", "base/a.ts", "class A extends Error {}", undefined],
  ["an enum", "core/a.ts", "enum A { B }", 1],
  ["an import without .ts", "core/a.ts", 'import { x } from "./x.js";', 1],
  ["a Node module without node:", "store/a.ts", 'import { join } from "path";', 1],
  ["an import by a computed name", "cli/a.ts", "const a = await import(name);", 1],
  ["a file for anything", "core/utils.ts", "", 1],
  ["a file in camel case", "core/myFile.ts", "", 1],
  ["a file that is too long", "core/a.ts", "\n".repeat(400), 400],
];

describe("the checker", () => {
  test.each(PLANTED)("judges %s", (_, path, text, line) => {
    const lines = violations([{ path, text }]).map((violation) => /^src\/[\w/.-]+:(\d+): /.exec(violation)?.[1]);

    expect([...new Set(lines)]).toEqual(line === undefined ? [] : [String(line)]);
  });

  test("refuses to judge a file that it cannot read", () => {
    expect(() => violations([{ path: "core/a.ts", text: "const = ;" }])).toThrow("core/a.ts");
  });
});

test.each([
  ["a condition", 'test.skipIf(way.name === "broker")("x", () => {});', 1],
  ["a way that is picked by its word", "const way = WAYS.direct;", 1],
  ["what status says", 'expect(status).toMatchObject({ apply: "direct" });', undefined],
])("%s in a test is judged as a dependence on the mode", (_, text, line) => {
  const found = conditionsOnMode([{ path: "integration/a.test.ts", text }]);

  expect(found.map((one) => /:(\d+): /.exec(one)?.[1])).toEqual(line === undefined ? [] : [String(line)]);
});
