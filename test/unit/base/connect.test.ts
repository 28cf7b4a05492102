import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const MODULE = join(import.meta.dirname, "..", "..", "..", "src", "base", "connect.ts");

test("a name that cannot be looked up is told as that, and as nobody who serves something else", async () => {
  const script = `
    const { connect } = await import(${JSON.stringify(MODULE)});
    const to = { host: "db.internal", port: 5432 };
    await connect(to, "db.internal:5432", AbortSignal.timeout(30_000)).catch(({ code, message }) => console.log(code, message));
  `;

  // Without a network no name server answers.
  const offline = ["-r", "-n", process.execPath, "--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)("/usr/bin/unshare", offline);

  expect(stdout.trim()).toBe("SERVICE_DOWN Cannot connect to db.internal:5432: the host's name cannot be looked up");
});
