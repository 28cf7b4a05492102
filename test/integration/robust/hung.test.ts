/** A file system that hangs, as one of a server that is away does. Needs root. */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { constants } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { DAY, pause } from "../../../src/base/time.ts";
import { startDevCa } from "../../../src/devca/devca.ts";
import { certagent, makeHome, startAgent, startCertagent } from "../../servers/program.ts";
import { areCurrent } from "../walk/look.ts";

const execute = promisify(execFile);

/** More than Node has threads for file calls. */
const HUNG = ["a", "b", "c", "d", "e", "f"];

test("six certificates on a file system that hangs are told of and hold up no other", async () => {
  await using ca = await startDevCa({ policy: { longest: DAY } });
  await using home = await makeHome();
  const [disk, mounted] = [join(home.folder, "disk"), join(home.folder, "mounted")];
  await writeFile(join(home.folder, "root"), ca.root.pem);
  await writeFile(join(home.folder, "jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: join(home.folder, "jwk") } };
  const internal = { type: "step-ca", url: ca.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  const put = (name: string, folder: string): Promise<void> => {
    const outputs = [{ format: "combined", path: join(folder, `${name}.pem`) }];
    return home.write(name, JSON.stringify({ subject: `${name}.internal`, outputs }));
  };
  for (const name of HUNG) await put(name, mounted);
  await put("web", home.folder);
  await mkdir(mounted);
  await execute("truncate", ["-s", "16M", disk]);
  await execute("mkfs.ext4", ["-q", disk]);
  // In a mount namespace of the agent's, which goes with it.
  const mount = `mount -o loop ${disk} ${mounted} && exec "$@"`;
  await using agent = await startAgent(home, { through: ["unshare", "--mount", "sh", "-c", mount, "sh"] });
  const there = ["--target", `${agent.pid}`, "--mount", "fsfreeze"];
  await agent.until("all are current", areCurrent);

  await execute("nsenter", [...there, "--freeze", mounted]);
  const hung = certagent(home, "renew", ...HUNG);
  try {
    await agent.until("the others hang", (all) => HUNG.every((name) => all.get(name)?.state === "renewing"));
    expect(await certagent(home, "renew", "web")).toMatchObject({ code: 0 });
    const told = (): readonly string[] => agent.journal().filter((line) => line.includes("takes long"));
    await expect.poll(told).toHaveLength(HUNG.length);
    expect(told()[0]).toContain(`findmnt -T ${mounted}`);
  } finally {
    await execute("nsenter", [...there, "--unfreeze", mounted]);
  }
  expect(await hung).toMatchObject({ code: 0 });
});

/** Mounts a file system at `$1` whose server never says a word: whoever looks there waits until it is killed. */
const SILENT =
  'exec 5<>/dev/fuse && mount -i -t fuse -o fd=5,rootmode=40000,user_id=0,group_id=0 silent "$1" && shift && exec "$@"';

test("a certificate is renewed while the folder of its spec hangs", async () => {
  await using ca = await startDevCa({ policy: { longest: DAY } });
  await using home = await makeHome();
  await writeFile(join(home.folder, "root"), ca.root.pem);
  await writeFile(join(home.folder, "jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: join(home.folder, "jwk") } };
  const internal = { type: "step-ca", url: ca.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  const outputs = [{ format: "combined", path: join(home.folder, "web.pem") }];
  await home.write("web", JSON.stringify({ subject: "web.internal", outputs }));
  await using agent = await startAgent(home, { through: ["unshare", "--mount"] });
  await agent.until("it is current", areCurrent);

  const there = ["--target", `${agent.pid}`, "--mount", "sh", "-c", SILENT, "sh", home.specs, "sleep", "600"];
  const server = spawn("/usr/bin/setpriv", ["--pdeathsig=KILL", "nsenter", ...there], { stdio: "ignore" });
  const ended = once(server, "exit");
  try {
    await expect.poll(async () => await readFile(`/proc/${agent.pid}/mounts`, "utf8")).toContain("silent");
    expect(await certagent(home, "renew", "web")).toMatchObject({ code: 0 });
  } finally {
    server.kill("SIGKILL");
    await ended;
  }
});

test.each([
  ["run", "specs", 0],
  ["run", "state", 0],
  ["once", "specs", 1],
  ["apply --requests", "state", 1],
  ["apply web", "specs", 1],
])("a %s that is stopped while its %s hang ends all the same, with %i", async (command, folder, code) => {
  await using home = await makeHome({ issuers: {} });
  const hung = folder === "specs" ? home.specs : home.state;
  await mkdir(hung, { recursive: true });
  const through = ["unshare", "--mount", "sh", "-c", SILENT, "sh", hung];
  const child = await startCertagent([...command.split(" "), ...home.options], { through });
  await expect.poll(() => hangs(child.pid)).toBe(true);

  child.process.kill("SIGTERM");
  const { code: ended, stderr } = await child.ended;

  expect(ended).toBe(code);
  expect(stderr).toContain("<4>ended although something hangs, as by a kill");
});

/** Whether it hears SIGTERM, and one of its threads waits in the kernel for a file system, for longer than a disk takes. */
async function hangs(pid: number): Promise<boolean> {
  const caught = /^SigCgt:\s*(\S+)$/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  const hears = (BigInt(`0x${caught}`) & (1n << BigInt(constants.signals.SIGTERM - 1))) !== 0n;
  let waiting = await waitingThreads(pid);
  for (let look = 0; look < 5 && waiting.length > 0; look++) {
    await pause(200);
    const still = await waitingThreads(pid);
    waiting = waiting.filter((thread) => still.includes(thread));
  }
  return hears && waiting.length > 0;
}

async function waitingThreads(pid: number): Promise<readonly string[]> {
  const folder = `/proc/${pid}/task`;
  const stats = (await readdir(folder)).map((task) => readFile(join(folder, task, "stat"), "utf8").catch(() => ""));
  return (await Promise.all(stats)).filter((stat) => stat.includes(") D ")).map((stat) => stat.split(" ")[0] ?? "");
}
