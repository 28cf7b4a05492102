import { mkdtempDisposable, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startDevCa } from "../../../src/devca/devca.ts";

test("a CA that is kept in a file is the same one in its next life: root, provisioner and its key", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const keptIn = join(folder.path, "identity.json");

  await using first = await startDevCa({ keptIn, provisioner: { name: "hosts", password: "one" } });
  await using second = await startDevCa({ keptIn, provisioner: { name: "hosts", password: "two" } });

  expect(second.root.fingerprint).toBe(first.root.fingerprint);
  expect(second.provisioner).toMatchObject({ name: "hosts", password: "one", kid: first.provisioner.kid });
  expect((await stat(keptIn)).mode & 0o777).toBe(0o600);
});

test("a CA tells of a request when it answers it", async () => {
  const heard: string[] = [];
  await using ca = await startDevCa({ onRequest: ({ path, status }) => heard.push(`${path} ${status}`) });
  const { get } = await import("node:https");

  await new Promise((resolve) => get(`${ca.url}/health`, { ca: ca.root.pem }, (answer) => resolve(answer.resume())));

  expect(heard).toEqual(["/health 200"]);
});
