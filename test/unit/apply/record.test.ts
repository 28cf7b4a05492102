import { mkdir, mkdtempDisposable } from "node:fs/promises";
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
