import { spawn } from "node:child_process";
import { mkdtempDisposable, readdir, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  LARGEST_REQUEST,
  requestIn,
  requestName,
  requestNamed,
  TOKEN,
  withdrawRequest,
  writeRequest,
} from "../../../src/store/requests.ts";

test.each([
  [{ kind: "observe" }, "observe"],
  [{ kind: "look", spec: "web" }, "look@web"],
  [{ kind: "adopt", spec: "web" }, "adopt@web"],
  [{ kind: "apply", spec: "a.b_c-1", again: [] }, "apply@a.b_c-1"],
  [{ kind: "failed", spec: "web" }, "failed@web"],
  [{ kind: "forget", issuer: "internal" }, "forget@internal"],
] as const)("%o is asked for by a name that means it", (request, name) => {
  expect(requestName(request)).toBe(name);
  expect(requestNamed(name)).toEqual(request);
});

test.each([
  "",
  "Observe",
  "observe@web",
  "observe ",
  "apply",
  "apply@",
  "apply@.",
  "apply@..",
  "apply@.hidden",
  "apply@a/b",
  "apply@a b",
  "apply@a\n",
  "apply@a@b",
  "apply@\u00e4",
  "\napply@web",
  "revoke@web",
  "toString",
  `apply@${"a".repeat(241)}`,
])("%j is no request", (name) => {
  expect(requestNamed(name)).toBeUndefined();
});

test("the longest name that can be asked for fits with its report into the name of a file", () => {
  const name = requestName({ kind: "failed", spec: "a".repeat(240) });

  expect(`${name}.json`.length).toBeLessThanOrEqual(255);
  expect(() => requestName({ kind: "apply", spec: "a".repeat(241), again: [] })).toThrow("too long");
});

test("each asking has a token of its own, and leaves one file that others cannot read", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-requests-"));

  const request = { kind: "apply", spec: "web", again: [] } as const;
  const first = await writeRequest(folder.path, request);
  const second = await writeRequest(folder.path, request);

  expect(first).not.toBe(second);
  expect(second).toMatch(TOKEN);
  expect(await readdir(folder.path)).toEqual(["apply@web"]);
  const path = join(folder.path, "apply@web");
  expect(await readFile(path, "utf8")).toBe(second);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect((await stat(path)).size).toBeLessThanOrEqual(LARGEST_REQUEST);
});

test.each([
  ["no service", []],
  ["two services", [0, 12]],
  ["as many as fit", Array.from({ length: 20 }, (_, index) => index + 80)],
])("a request to apply tells which services are to take the files again: %s", async (_, again) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-requests-"));
  const request = { kind: "apply", spec: "web", again } as const;

  const token = await writeRequest(folder.path, request);

  const content = await readFile(join(folder.path, "apply@web"), "latin1");
  expect(content.length).toBeLessThanOrEqual(LARGEST_REQUEST);
  expect(requestIn({ kind: "apply", spec: "web", again: [] }, content)).toEqual({ request, token });
});

test.each([
  ["apply", "ab 1 "],
  ["apply", "ab  1"],
  ["apply", "ab 100"],
  ["apply", "ab -1"],
  ["apply", "ab 1\n"],
  ["apply", `ab${" 1".repeat(21)}`],
  ["apply", " 1"],
  ["adopt", "ab 1"],
  ["adopt", ""],
])("a request to %s does not hold %j", (kind, content) => {
  const named = requestNamed(`${kind}@web`);

  expect(named && requestIn(named, content)).toBeUndefined();
});

test("a request is taken back, and one that was taken is no failure", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-requests-"));
  await writeRequest(folder.path, { kind: "observe" });

  await withdrawRequest(folder.path, "observe");
  await withdrawRequest(folder.path, "observe");

  expect(await readdir(folder.path)).toEqual([]);
});

test("a request that is taken before it was looked at is no failure", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-requests-"));
  // As eager as a root side that is at work already. A test that is ended by force must not leave it behind.
  const argv = ["--pdeathsig=KILL", "sh", "-c", "while :; do rm -f observe; done"];
  const taker = spawn("/usr/bin/setpriv", argv, { cwd: folder.path, stdio: "ignore" });
  try {
    for (let round = 0; round < 1000; round++) await writeRequest(folder.path, { kind: "observe" });
  } finally {
    taker.kill("SIGKILL");
  }
});
