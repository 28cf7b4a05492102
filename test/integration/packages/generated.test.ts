import { execFile } from "node:child_process";
import { mkdir, mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { generatedFiles } from "../../../scripts/docs.ts";
import { ROOT } from "../../../scripts/pinned-node.mjs";
import { COMMANDS } from "../../../src/cli/commands.ts";

const execute = promisify(execFile);

test.each([...generatedFiles()])("%s is what node scripts/docs.ts writes", async (path, text) => {
  expect(await readFile(join(ROOT, path), "utf8")).toBe(text);
});

test.each(["certagent.1", "certagent.yaml.5", "certagent-spec.5"])(
  "groff has nothing to say about %s",
  async (name) => {
    const { stdout, stderr } = await execute("groff", ["-man", "-Tutf8", "-ww", `packaging/man/${name}`], {
      cwd: ROOT,
    });

    expect(stderr).toBe("");
    expect(stdout.length).toBeGreaterThan(1000);
  },
);

test("every file below /usr/share that the manual page names is in the packages", async () => {
  const manual = await readFile(join(ROOT, "packaging/man/certagent.1"), "utf8");
  const packages = await readFile(join(ROOT, "packaging/nfpm.yaml"), "utf8");

  for (const [path] of manual.matchAll(/\/usr\/share\/[\w./-]+/g)) expect(packages).toContain(`dst: ${path},`);
});

/** What bash offers for the last of these words. */
async function offered(words: readonly string[], folder: string): Promise<readonly string[]> {
  const script = await readFile(join(ROOT, "packaging/completions/certagent.bash"), "utf8");
  const shell = `
    complete() { :; }
    ${script.replaceAll("/etc/certagent.d", folder)}
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _certagent; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await execute("bash", ["-c", shell, "bash", "certagent", ...words], { cwd: folder });
  return stdout.trim().split("\n");
}

test("bash completes every command, its options, their values, and the names of specs", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-completion-"));
  await writeFile(join(folder.path, "web.yaml"), "");
  await writeFile(join(folder.path, "postgres.yaml"), "");
  await mkdir(join(folder.path, "wide"));

  const names = COMMANDS.map(({ name }) => name);
  expect(await offered([""], folder.path)).toEqual([...names, "--help", "--version"]);
  expect(await offered(["ren"], folder.path)).toEqual(["renew"]);
  expect(await offered(["run", "--app"], folder.path)).toEqual(["--apply"]);
  expect(await offered(["run", "--apply", ""], folder.path)).toEqual(["direct", "broker"]);
  expect(await offered(["renew", "w"], folder.path)).toEqual(["web"]);
  expect(await offered(["check", "w"], folder.path)).toEqual(["web.yaml", "wide"]);
  expect(await offered(["status", "--specs", "w"], folder.path)).toEqual(["wide"]);
  expect(await offered(["schema", "h"], folder.path)).toEqual(["host"]);
});
