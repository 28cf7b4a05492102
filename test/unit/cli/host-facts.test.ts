import { access, mkdtempDisposable } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Run } from "../../../src/base/run.ts";
import { steadyFacts } from "../../../src/cli/host-facts.ts";

const [short = ""] = hostname().toLowerCase().split(".", 1);
const answers =
  (output: string): Run =>
  () =>
    Promise.resolve({ exitCode: 0, signal: null, timedOut: false, output });
const noResolver: Run = () => Promise.resolve({ exitCode: 1, signal: null, timedOut: false, output: "" });

test("the domain of before stands where the resolver does not answer", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(answers(`${short}.internal\n`), path, { readOnly: false });

  expect(await steadyFacts(noResolver, path, { readOnly: false })).toEqual({
    hostname: short,
    fqdn: `${short}.internal`,
  });
});

test("another domain is believed as soon as the resolver gives it", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(answers(`${short}.internal\n`), path, { readOnly: false });
  await steadyFacts(answers(`${short}.example\n`), path, { readOnly: false });

  expect((await steadyFacts(noResolver, path, { readOnly: false })).fqdn).toBe(`${short}.example`);
});

test("nothing is written where only a look is taken", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-facts-"));
  const path = join(folder.path, "host.json");

  await steadyFacts(answers(`${short}.internal\n`), path, { readOnly: true });

  await expect(access(path)).rejects.toThrow("ENOENT");
});
