/** Links on which packets are lost, or take their time. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { pause } from "../../../src/base/time.ts";
import { startDevCa } from "../../../src/devca/devca.ts";
import { startCertagent } from "../../servers/program.ts";

/** Before a port, a relay that takes nothing before it is told to: the kernel drops what its short queue does not hold. */
const RELAY = `
  const { connect, createServer } = require("node:net");
  const { readSync, writeSync } = require("node:fs");
  createServer((socket) => {
    const on = connect(Number(process.argv[1]), "127.0.0.1");
    socket.pipe(on).pipe(socket);
    for (const each of [socket, on]) each.on("error", () => {});
  }).listen(0, "127.0.0.1", 1, function () {
    writeSync(1, String(this.address().port));
    readSync(0, Buffer.alloc(1));
  });`;

/** Its name has two addresses. */
const NAMED = `mount --bind "$1" /etc/hosts; shift; exec "$@"`;

/** How many wait for an answer to their first packet to a port of this host. */
async function unanswered(port: number): Promise<number> {
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return (await readFile("/proc/net/tcp", "utf8")).split(`:${hex} 02 `).length - 1;
}

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await pause(10);
}

test("the first packet to a CA is lost, and it is reached although nobody is at its other address", async () => {
  await using ca = await startDevCa();
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-slow-link-"));
  const hosts = join(folder.path, "hosts");
  await writeFile(hosts, "127.0.0.1 ca.test\n127.0.0.9 ca.test\n");
  const relay = spawn(process.execPath, ["-e", RELAY, new URL(ca.url).port], { stdio: ["pipe", "pipe", "inherit"] });
  const [said] = (await once(relay.stdout, "data")) as [Buffer];
  const port = Number(said);
  const queued = Array.from({ length: 4 }, () => connect(port, "127.0.0.1").on("error", () => {}));
  await until(async () => (await unanswered(port)) > 0);
  const before = await unanswered(port);
  const root = ["--root", join(folder.path, "root.crt"), "--fingerprint", ca.root.fingerprint];

  const { ended } = await startCertagent(["bootstrap", "--ca-url", `https://ca.test:${port}`, ...root], {
    through: ["unshare", "--mount", "sh", "-ec", NAMED, "sh", hosts],
  });
  await until(async () => (await unanswered(port)) > before);
  relay.stdin.end("go");
  const outcome = await ended;
  for (const socket of queued) socket.destroy();
  relay.kill("SIGKILL");

  expect(outcome).toMatchObject({ code: 0, stderr: "" });
});
