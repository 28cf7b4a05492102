import { mkdtempDisposable, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  adoptedFrom,
  adoption,
  adoptionOf,
  application,
  nothing,
  observation,
  readReport,
  reportPath,
  writeReport,
} from "../../../src/store/reports.ts";
import { makePki } from "../../servers/pki.ts";

const ACCESS = { mode: 0o400 };
const FAILURE = { code: "RELOAD_FAILED", message: "Cannot reload nginx", hint: null, retryAt: null } as const;
const FACTS = {
  deployed: 1,
  outputs: [{ path: "/x", format: "key", state: "drifted", because: "has mode 0644" }],
  services: [
    {
      type: "nginx",
      liveness: "up",
      probe: { address: { host: "127.0.0.1", port: 443 }, starttls: "tls", serverName: null, timeout: 1000 },
      reloaded: { generation: 1, at: 5, failure: FAILURE },
      servedUntil: 7,
    },
  ],
  adoptable: false,
  obstacle: null,
} as const;

test("what was answered is what is read, for one reader alone", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-reports-"));
  const path = reportPath(folder.path, "observe");
  const result = {
    specs: [
      { name: "web", digest: "a", generation: 1, facts: FACTS },
      { name: "db", failure: FAILURE },
    ],
    isWhole: true,
  };

  await writeReport(path, { token: "ab", result }, 1000, ACCESS);
  expect(await readReport(path, observation)).toMatchObject({ token: "ab", result });
  expect((await stat(path)).mode & 0o777).toBe(0o400);

  await writeReport(path, { token: "cd", failure: FAILURE }, 1000, ACCESS);
  expect(await readReport(path, observation)).toMatchObject({ token: "cd", failure: FAILURE });
});

test("no report is no answer yet", async () => {
  expect(await readReport("/nowhere/observe.json", observation)).toBeUndefined();
});

const HEAD = { schema: 1, token: "ab", at: 1 };
const REPORT = { deployed: 1, files: "written", services: [], failure: null, actions: [], repaired: [] };

test.each([
  ["text that is no JSON", "{"],
  ["another schema", JSON.stringify({ ...HEAD, schema: 2, result: null })],
  ["a token that is none", JSON.stringify({ ...HEAD, token: "../x", result: null })],
  ["neither result nor failure", JSON.stringify(HEAD)],
  ["both", JSON.stringify({ ...HEAD, result: null, failure: FAILURE })],
  ["a failure of a code that nobody knows", JSON.stringify({ ...HEAD, failure: { ...FAILURE, code: "ROOT" } })],
  ["a result where there is none", JSON.stringify({ ...HEAD, result: 1 })],
  ["more than was agreed on", JSON.stringify({ ...HEAD, result: null, extra: 1 })],
])("%s is refused as a whole, with where to look", async (_, text) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-reports-"));
  const path = reportPath(folder.path, "failed@web");
  await writeFile(path, text);

  await expect(readReport(path, nothing)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
});

test.each([
  ["a generation that is no number", { report: { ...REPORT, deployed: "1" }, observed: null }],
  ["files in a state that there is not", { report: { ...REPORT, files: "gone" }, observed: null }],
  [
    "facts with an address of no host",
    {
      report: REPORT,
      observed: {
        name: "web",
        digest: "a",
        generation: 1,
        facts: {
          ...FACTS,
          services: [{ ...FACTS.services[0], probe: { address: {}, starttls: "tls", serverName: null, timeout: 1 } }],
        },
      },
    },
  ],
  ["a negative generation", { report: { ...REPORT, deployed: -1 }, observed: null }],
])("a report of apply with %s is refused", async (_, result) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-reports-"));
  const path = reportPath(folder.path, "apply@web");
  await writeFile(path, JSON.stringify({ ...HEAD, result }));

  await expect(readReport(path, application)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
});

test("a report that is a link or far too long is refused unread", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-reports-"));
  const path = reportPath(folder.path, "failed@web");
  await writeFile(join(folder.path, "elsewhere"), JSON.stringify({ ...HEAD, result: null }));
  await symlink("elsewhere", path);
  const long = reportPath(folder.path, "failed@db");
  await writeFile(long, Buffer.alloc(17 * 1024 * 1024, " "));

  await expect(readReport(path, nothing)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
  await expect(readReport(long, nothing)).rejects.toMatchObject({ code: "APPLY_UNREACHABLE" });
});

test("a pair that is handed over arrives whole; a key of another certificate is refused", async () => {
  const pki = await makePki();
  const [one, two] = [await pki.issue({}), await pki.issue({})];

  const handed = adoption.parse(JSON.parse(JSON.stringify(adoptionOf({ key: one.key, chain: one.chain }))));
  const arrived = adoptedFrom(handed);
  expect(arrived?.chain.map(({ fingerprint }) => fingerprint)).toEqual(one.chain.map(({ fingerprint }) => fingerprint));
  expect(arrived?.key.keyId).toBe(one.key.keyId);
  expect(adoptedFrom(adoptionOf(undefined))).toBeUndefined();

  const mixed = { key: two.key.toPem(), chain: handed?.chain ?? "" };
  expect(() => adoptedFrom(mixed)).toThrow("its key is not the certificate's");
});
