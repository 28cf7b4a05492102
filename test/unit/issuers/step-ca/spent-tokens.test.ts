import { mkdtempDisposable, readdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { DAY } from "../../../../src/base/time.ts";
import { createSpentTokens } from "../../../../src/issuers/step-ca/spent-tokens.ts";

const NOW = 1_800_000_000_000;

test("the mark of a token that ended more than a year ago goes with the next one, all others stay", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-spent-"));
  await writeFile(join(folder.path, "of-an-older-version"), "");
  const spent = createSpentTokens(folder.path, () => NOW);
  await spent.mark("ended-long-ago", NOW - 366 * DAY);
  await spent.mark("ended", NOW - 364 * DAY);
  await spent.mark("endless", undefined);
  await spent.mark("good", NOW + DAY);

  expect((await readdir(folder.path)).toSorted()).toEqual(["ended", "endless", "good", "of-an-older-version"]);
  const next = createSpentTokens(folder.path, () => NOW);
  expect([await next.claim("ended"), await next.claim("new")]).toEqual([false, true]);
});
