import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeHost, NAME, never, output } from "./harness.ts";

const RACER = `
  const fs = require("node:fs");
  const [folder, victim] = process.argv.slice(1);
  process.send("ready");
  for (;;) {
    for (const name of fs.readdirSync(folder)) {
      const path = folder + "/" + name;
      try {
        if (name.startsWith(".certagent-")) { fs.unlinkSync(path); fs.symlinkSync(victim, path); }
        else if (Math.random() < 0.5) { fs.unlinkSync(path); fs.symlinkSync(victim, path); }
        else { fs.unlinkSync(path); fs.linkSync(victim, path); }
      } catch {}
    }
  }`;

test("a user who owns the folder and races every name in it gets nothing of root's", async () => {
  await using host = await makeHost({}, { fast: true });
  const victim = join(host.folder, "victim");
  await writeFile(victim, "root's secret\n", { mode: 0o600 });
  execFileSync("chmod", ["755", host.folder]);
  execFileSync("chown", ["nobody", host.tls]);
  const outputs = [output("combined", host.path("web.pem"), { owner: "nobody", group: "nogroup", mode: 0o600 })];
  host.desired = { ...host.desired, outputs };
  await host.issue();
  const applier = await host.open();
  const before = await lstat(victim);
  const racer = spawn(process.execPath, ["-e", RACER, host.tls, victim], {
    uid: 65534,
    stdio: ["ignore", "ignore", "ignore", "ipc"],
  });
  await once(racer, "message");

  let written = 0;
  try {
    for (let round = 0; round < 300; round++) {
      const report = await applier.apply(NAME, never);
      if (report.failure === null) written += 1;
      else expect(report.failure.code).toBe("DEPLOY_FAILED");
    }
  } finally {
    racer.kill("SIGKILL");
    await once(racer, "close");
  }

  const after = await lstat(victim);
  expect(await readFile(victim, "utf8")).toBe("root's secret\n");
  expect([after.uid, after.gid, after.mode]).toEqual([before.uid, before.gid, before.mode]);
  expect(written).toBeLessThanOrEqual(300);
});

test("a planted link of the folder's owner is replaced unread, and the state holds nothing of what it leads to", async () => {
  await using host = await makeHost();
  const victim = join(host.folder, "victim");
  await writeFile(victim, (await host.pki.issue()).key.toPem(), { mode: 0o600 });
  execFileSync("chown", ["nobody", host.tls]);
  await symlink(victim, host.path("web.pem"));
  execFileSync("chown", ["-h", "nobody", host.path("web.pem")]);
  const outputs = [output("combined", host.path("web.pem"), { owner: "nobody" })];
  host.desired = { ...host.desired, layout: "link", outputs };
  await host.issue();

  const report = await (await host.open()).apply(NAME, never);

  expect(report.failure).toBeNull();
  const secret = (await readFile(victim, "utf8")).split("\n")[1] ?? "";
  const found = execFileSync("sh", ["-c", 'grep -rlF -- "$1" "$2" || true', "sh", secret, host.layout.apply.folder], {
    encoding: "utf8",
  });
  expect(found).toBe("");
  expect(
    execFileSync("sh", ["-c", 'grep -rlF -- "$1" "$2" || true', "sh", secret, host.layout.live], { encoding: "utf8" }),
  ).toBe("");
});
