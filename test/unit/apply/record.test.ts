import { mkdir, mkdtempDisposable, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import type { Host } from "../../../src/apply/host.ts";
import { type Applying, keep, type Progress } from "../../../src/apply/progress.ts";
import { type ApplyRecord, openRecords, type Records } from "../../../src/apply/record.ts";
import { nodeFiles } from "../../../src/base/atomic-file.ts";
import { pause } from "../../../src/base/time.ts";
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

  await records.change("zed", deployed("/etc/web.crt", "/etc/zed.crt"));
  await records.change("abe", deployed("/etc/web.crt"));

  const owners = new Map([
    ["/etc/zed.crt", "zed"],
    ["/etc/web.crt", "abe"],
  ]);
  expect(await records.owners()).toEqual(owners);
  expect(await openRecords(host).owners()).toEqual(owners);
});

/** An apply of a spec that has begun: it goes by the record as it was then. */
async function applying(records: Records, name: string): Promise<(change: Partial<ApplyRecord>) => Promise<void>> {
  const progress = { record: await records.read(name) } as Progress;
  return async (change) => await keep({ records, desired: { name } } as Applying, progress, change);
}

test("a path that another spec takes during an apply is not taken back by what that apply still has to write", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-records-"));
  const layout = layoutOf(home.path, join(home.path, "run"));
  const records = openRecords({ layout, files: nodeFiles } as unknown as Host);
  await records.change("mail", deployed("/etc/web.crt"));
  const keepOfMail = await applying(records, "mail");

  await records.change("web", deployed("/etc/web.crt"));
  await keepOfMail({ failing: true });

  expect(await records.owners()).toEqual(new Map([["/etc/web.crt", "web"]]));
  expect(await records.read("mail")).toMatchObject({ failing: true, paths: [] });
});

test("what an apply has written while another spec took a path from it is not lost", async () => {
  await using home = await mkdtempDisposable(join(tmpdir(), "certagent-records-"));
  const layout = layoutOf(home.path, join(home.path, "run"));
  const [begun, goOn] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  let writes = 0;
  const files = {
    ...nodeFiles,
    rename: async (from: string, to: string) => {
      // The third is that of the path's loss.
      writes += 1;
      if (writes === 3) begun.resolve();
      if (writes === 3) await goOn.promise;
      await nodeFiles.rename(from, to);
    },
  };
  const records = openRecords({ layout, files } as unknown as Host);
  await records.change("mail", deployed("/etc/web.crt"));
  const keepOfMail = await applying(records, "mail");

  const taking = records.change("web", deployed("/etc/web.crt"));
  await begun.promise;
  const writing = keepOfMail({ deployed: 2, paths: ["/etc/mail.crt"] });
  await Promise.race([writing, pause(200)]); // it waits, or is done by then
  goOn.resolve();
  await Promise.all([taking, writing]);

  const after = { deployed: 2, paths: ["/etc/mail.crt"] };
  expect(await records.read("mail")).toMatchObject(after);
  expect(await openRecords({ layout, files: nodeFiles } as unknown as Host).read("mail")).toMatchObject(after);
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
  await records.change("web", deployed("/etc/web.crt"));

  isHeld = true;
  const writing = records.change("web", { failing: true });
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
