import { mkdir, mkdtempDisposable, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import type { Host } from "../../../src/apply/host.ts";
import { type ApplyRecord, openRecords } from "../../../src/apply/record.ts";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import { layoutOf } from "../../../src/store/layout.ts";

const deployed = (...paths: readonly string[]): ApplyRecord => ({
  deployed: 1,
  before: null,
  accepted: {},
  paths: [...paths],
  files: {},
  staging: [],
  services: {},
  owesAfter: false,
  failing: false,
});

test("a path is of the spec that deployed it last, however often it changed hands, and after a restart too", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-records-"));
  const layout = layoutOf(home.path, join(home.path, "run"));
  await mkdir(dirname(layout.apply.facts("x")), { recursive: true });
  const host = { layout, files: nodeFiles } as unknown as Host;
  const records = openRecords(host);

  await records.write("zed", deployed("/etc/web.crt", "/etc/zed.crt"));
  await records.write("abe", deployed("/etc/web.crt"));

  const owners = new Map([
    ["/etc/zed.crt", "zed"],
    ["/etc/web.crt", "abe"],
  ]);
  expect(await records.owners()).toEqual(owners);
  expect(await openRecords(host).owners()).toEqual(owners);
});

test("a record that is just being written is told as it was before, and is not read from the disk", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-records-"));
  const layout = layoutOf(home.path, join(home.path, "run"));
  await mkdir(dirname(layout.apply.facts("x")), { recursive: true });
  const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let isHeld = false;
  const files = {
    ...nodeFiles,
    rename: async (from: string, to: string) => {
      if (isHeld) begun.resolve();
      if (isHeld) await goOn.promise;
      await nodeFiles.rename(from, to);
    },
  };
  const records = openRecords({ layout, files } as unknown as Host);
  expect(await records.owners()).toEqual(new Map());
  await records.write("web", deployed("/etc/web.crt"));

  isHeld = true;
  const writing = records.write("web", { ...deployed("/etc/web.crt"), failing: true });
  await begun.promise;
  const owners = await records.owners();
  await rm(layout.apply.facts("web"));
  const during = await records.read("web");
  goOn.resolve();
  await writing;

  expect(owners).toEqual(new Map([["/etc/web.crt", "web"]]));
  expect(during).toEqual(deployed("/etc/web.crt"));
  expect(await records.read("web")).toMatchObject({ failing: true });
});
