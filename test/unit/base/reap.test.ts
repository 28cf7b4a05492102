import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const RUN = join(import.meta.dirname, "..", "..", "..", "src", "base", "run.ts");
const ALONE = ["--user", "--map-root-user", "--pid", "--fork", "--kill-child", "--mount-proc"];

/** Runs a module as the process 1 of a container, and answers what it prints. */
async function asProcess1(script: string): Promise<string> {
  const node = [process.execPath, "--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)("unshare", [...ALONE, ...node], { timeout: 60_000 });
  return stdout;
}

test("as process 1 of a container it leaves none of the processes that its commands leave behind a zombie", async () => {
  const out = await asProcess1(`
    import { readdirSync, readFileSync } from "node:fs";
    import { run } from ${JSON.stringify(RUN)};
    const states = () =>
      readdirSync("/proc").filter((name) => /^\\d+$/.test(name)).map((pid) => {
        try {
          return [pid, readFileSync(\`/proc/\${pid}/stat\`, "utf8").split(") ")[1][0]].join(" ");
        } catch {
          return "";
        }
      });
    const leave = ["/bin/sh", "-c", "(sleep 0.1; exit 3) & setsid sleep 0.2 & exit 7"];
    const ends = await Promise.all(Array.from({ length: 30 }, () => run(leave, { timeout: 30_000 })));
    console.log([...new Set(ends.map(({ exitCode }) => exitCode))].join());
    const end = performance.now() + 20_000;
    while (states().filter((one) => one !== "").length > 1 && performance.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    console.log(states().filter((one) => one !== "" && !one.startsWith("1 ")).join());
    process.exit(0);`);

  expect(out).toBe("7\n\n");
});
