import { access, mkdtempDisposable } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { askOutsideToo, steadyFacts } from "../../../src/cli/host-facts.ts";

const [short = ""] = hostname().toLowerCase().split(".", 1);
const answers = (name: string | undefined) => () => Promise.resolve(name);

test("the domain of before stands where the resolver does not answer", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(path, { readOnly: false, ask: answers(`${short}.internal`) });

  expect(await steadyFacts(path, { readOnly: false, ask: answers(undefined) })).toEqual({
    hostname: short,
    fqdn: `${short}.internal`,
  });
});

test("another domain is believed as soon as the resolver gives it", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(path, { readOnly: false, ask: answers(`${short}.internal`) });
  await steadyFacts(path, { readOnly: false, ask: answers(`${short}.example`) });

  expect((await steadyFacts(path, { readOnly: false, ask: answers(undefined) })).fqdn).toBe(`${short}.example`);
});

test("a host that is called localhost has the name that it had", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");
  const unnamed = { readOnly: false, ask: answers("localhost"), kernelName: "localhost" };

  expect(await steadyFacts(path, unnamed)).toEqual({ hostname: null, fqdn: null });
  await steadyFacts(path, { readOnly: false, ask: answers(undefined) });

  expect(await steadyFacts(path, unnamed)).toEqual({ hostname: short, fqdn: short });
});

test("nothing is written where only a look is taken", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(path, { readOnly: true, ask: answers(`${short}.internal`) });

  await expect(access(path)).rejects.toThrow("ENOENT");
});

const ended = (output: string, exitCode = 0) => ({ exitCode, signal: null, timedOut: false, output });
const child = () => Promise.reject(new Error("asked"));

test.each([
  ["what a program outside says", () => Promise.resolve(ended("vm1.internal\n")), "vm1.internal"],
  ["nothing where that fails", () => Promise.resolve(ended("hostname: Name or service not known\n", 1)), undefined],
  ["nothing where that cannot be started", () => Promise.reject(new Error("no unit")), undefined],
  ["nothing more where a program is a child", child, undefined],
])("a process without a network knows %s", async (_title, run, name) => {
  const ask = askOutsideToo({ run, ask: child });

  expect(await ask("no-such-host.invalid", 1000)).toBe(name);
});
