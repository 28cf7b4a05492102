import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openFolder } from "../../../src/base/folder.ts";
import { rawNames } from "../../../src/base/remove-entry.ts";

test("a folder that cannot be listed is told by its path, in certagent's words", async () => {
  await using parent = await mkdtempDisposable(join(tmpdir(), "certagent-names-"));
  await writeFile(join(parent.path, "file"), "");
  await using folder = await openFolder(parent.path);

  // Stands for what a failing disk, or a process without a free descriptor, answers.
  const closed = { ...folder, at: () => join(parent.path, "file") };

  await expect(rawNames(closed, 10)).rejects.toMatchObject({
    code: "STATE_UNUSABLE",
    message: `Cannot read "${parent.path}": a part of the path is not a folder`,
  });
});
