import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempDisposable, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { nodeFlags } from "../../../scripts/pinned-node.mjs";
import { bundled } from "../../servers/program.ts";

/** Longer than the demo may take on any machine. */
const LONGEST = 120_000;

/** The demo as `npm run demo` starts it, with a folder of its own for temporary files. */
async function startDemo(
  folder: string,
  [program = process.execPath, ...words]: readonly string[] = [],
): Promise<{ readonly child: ChildProcess; stdout: string; stderr: string }> {
  const own = [...nodeFlags("demo"), await bundled(), "demo"];
  const child = spawn(program, words.length === 0 ? own : [...words, process.execPath, ...own], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: "/usr/bin:/bin", TMPDIR: folder },
  });
  const demo = { child, stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (demo.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (demo.stderr += text));
  return demo;
}

const STORY = `
  set up: an embedded CA
  set up: a TLS server
  set up: a spec
  started: certagent run
  minted: the CA saw POST /sign, authorised by a one-time token
  written: fullchain.pem 0644, key.pem 0600
  proven: on a fresh connection
  forgotten: password file is deleted
  renewed: of its lifetime: the CA saw POST /rekey over mTLS
  written: fullchain.pem
  proven: on a fresh connection
  killed: the CA
  asked: SIGHUP to the agent
  failing: ISSUER_UNREACHABLE
  served: and valid for another
  back: with the same root
  renewed: by itself, once the CA is there: over mTLS
  written: fullchain.pem
  proven: on a fresh connection
  asked: SIGHUP to the agent
  written: fullchain.pem
  ignored: told to reload, and goes on with
  unproven: SERVICE_STALE
  mended: without a new issuance
  proven: on a fresh connection
  held: holds its answer
  killed: the agent
  whole: key and certificate match
  started: the agent again
  renewed: asks again
  written: fullchain.pem
  proven: on a fresh connection
  stopped: exit code 0
  done: 5 certificates, 4 renewals, 0 mismatched pairs`;

test("the demo as it is shipped tells the whole story in plain lines, in under a minute", {
  timeout: LONGEST,
}, async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const demo = await startDemo(folder.path);

  const [code] = (await once(demo.child, "close")) as [number];

  expect(demo.stderr).toBe("");
  expect(code).toBe(0);
  const told = demo.stdout.trim().split("\n").slice(1);
  const story = STORY.trim().split("\n");
  expect(told).toHaveLength(story.length);
  for (const [index, line] of story.entries()) {
    const [word = "", text = ""] = line
      .trim()
      .split(": ", 1)
      .concat(line.trim().replace(/^[^:]*: /, ""));
    expect(told[index]).toMatch(new RegExp(`^ *[0-9.]+ s  ${word} `));
    expect(told[index]).toContain(text);
  }
  expect(Number(/ ([0-9.]+) s in all$/.exec(told.at(-1) ?? "")?.[1])).toBeLessThan(60);
  expect(demo.stdout).not.toContain("\x1b");
  expect(await readdir(folder.path)).toEqual([]);
  expect(await processesOf(folder.path)).toEqual([]);
});

test.each([
  ["SIGINT", "set up"],
  ["SIGTERM", "proven"],
  ["SIGHUP", "killed"],
] as const)(
  "%s while the demo tells %j ends it, and leaves no process and no file",
  { timeout: LONGEST },
  async (signal, word) => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
    const demo = await startDemo(folder.path);
    await expect.poll(() => demo.stdout, { timeout: LONGEST }).toContain(word);
    expect(await processesOf(folder.path)).not.toEqual([]);

    demo.child.kill(signal);
    const [code] = (await once(demo.child, "close")) as [number];

    expect(code).toBe(1);
    expect(demo.stderr).toBe("certagent: stopped; nothing is left behind\n");
    expect(await readdir(folder.path)).toEqual([]);
    expect(await processesOf(folder.path)).toEqual([]);
  },
);

test.each([
  ["is full", ["unshare", "--mount", "sh", "-ec", 'mount -t tmpfs -o size=16k tmpfs "$TMPDIR"; "$0" "$@"']],
  ["is not there", ["sh", "-ec", 'rmdir "$TMPDIR"; "$0" "$@" || { mkdir "$TMPDIR"; exit 1; }']],
])("where the folder for temporary files %s, the demo says so, and how to name another one", async (_, around) => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const demo = await startDemo(folder.path, around);

  expect(await once(demo.child, "close")).toEqual([1, null]);

  expect(demo.stderr).toMatch(
    /^certagent: Cannot [a-z ]+ "\S+": no s.*\n(certagent: hint: .*\n)*certagent: hint: .* TMPDIR\n$/,
  );
  expect(await processesOf(folder.path)).toEqual([]);
});

/** The command lines of all processes that name a folder in them. */
async function processesOf(folder: string): Promise<readonly string[]> {
  const numbers = (await readdir("/proc")).filter((name) => /^\d+$/.test(name));
  const lines = await Promise.all(numbers.map((pid) => readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")));
  return lines.filter((line) => line.includes(folder)).map((line) => line.replaceAll("\0", " "));
}
