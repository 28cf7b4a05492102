/** `certagent run` as a service: what it hears and what it tells. No CA is needed to find that out. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { access, chmod, chown, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { expect, test } from "vitest";
import { pause } from "../../../src/base/time.ts";
import { listenForNotifications, type NotifySocket } from "../../servers/notify-socket.ts";
import { bundled, certagent, type Home, makeHome, startAgent } from "../../servers/program.ts";

const CONFIG = {
  issuers: {
    ca: {
      type: "step-ca",
      url: "https://127.0.0.1:1",
      root: { file: "/nowhere/root.pem" },
      provisioner: { type: "jwk", name: "x", password: { file: "/nowhere/password" } },
    },
  },
  default_issuer: "ca",
};

async function homeWithSpecs(...names: readonly string[]): Promise<Home> {
  const home = await makeHome(CONFIG);
  for (const name of names) await home.write(name, specOf(home, name));
  return home;
}

function specOf(home: Home, name: string): string {
  return `subject: ${name}.internal\noutputs:\n  - { format: key, path: ${home.folder}/${name}.key }\n`;
}

/** All that was told so far, once it holds the word; polled, as a manager that is slow does. */
async function told(socket: NotifySocket, sofar: string[], word: string): Promise<readonly string[]> {
  await expect.poll(() => sofar.push(...socket.received()) && sofar).toContain(word);
  return sofar;
}

test("the service manager is told of start, reload, status and stop, without a word of Node on standard error", async () => {
  await using home = await homeWithSpecs("web");
  using socket = listenForNotifications(join(home.folder, "notify"));
  await using agent = await startAgent(home, { level: "info", env: { NOTIFY_SOCKET: socket.address } });
  const heard: string[] = [];
  await told(socket, heard, "READY=1");
  await told(socket, heard, "STATUS=0 of 1 certificates are as they should be; not so: web");

  heard.length = 0;
  agent.send("SIGHUP");
  const [reloading] = await told(socket, heard, "READY=1");
  expect(reloading).toMatch(/^RELOADING=1\nMONOTONIC_USEC=\d+$/);

  const { code, stderr } = await agent.stop();
  await told(socket, heard, "STOPPING=1");
  expect(code).toBe(0);
  expect(stderr.split("\n").filter((line) => line !== "" && !/^<\d>\w/.test(line))).toEqual([]);
});

test.each(["run", "once"])(
  "%s removes what a killed agent left of a generation, of a removed spec too",
  async (command) => {
    await using home = await homeWithSpecs("web");
    const left = ["web", "gone"].map((name) =>
      join(home.state, "agent", "generations", name, ".certagent-0123456789abcdef"),
    );
    for (const file of left) {
      await mkdir(dirname(file), { recursive: true });
      await writeFile(file, "half a key");
    }

    if (command === "once") await certagent(home, "once");
    else {
      await using agent = await startAgent(home);
      await agent.until("looked after", (all) => all.get("web")?.state === "failing");
    }

    for (const file of left) await expect(access(file)).rejects.toThrow("ENOENT");
  },
);

test("the watchdog gets signs of life twice within its patience, however long the loop has nothing to do", async () => {
  await using home = await homeWithSpecs();
  using socket = listenForNotifications(join(home.folder, "notify"));
  const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "1000000" };
  await using _agent = await startAgent(home, { env });
  const heard: string[] = [];

  const signs = () => heard.push(...socket.received()) && heard.filter((word) => word === "WATCHDOG=1").length;

  await expect.poll(signs).toBeGreaterThan(5);
});

test("a CA that never answers does not stop the signs of life", async () => {
  const asked = Promise.withResolvers<void>();
  const silent = createServer(() => asked.resolve()).listen(0, "127.0.0.1");
  await once(silent, "listening");
  const { port } = silent.address() as AddressInfo;
  await using home = await homeWithSpecs("web");
  const root = { file: join(home.folder, "root.pem"), fingerprint: "0".repeat(64) };
  await writeFile(join(home.folder, "password"), "secret");
  const provisioner = { type: "jwk", name: "x", password: { file: join(home.folder, "password") } };
  await home.configure({ issuers: { ca: { type: "step-ca", url: `https://127.0.0.1:${port}`, root, provisioner } } });
  await home.write("web", `issuer: ca\n${specOf(home, "web")}`);
  using socket = listenForNotifications(join(home.folder, "notify"));
  await using _agent = await startAgent(home, { env: { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "200000" } });
  await asked.promise;
  socket.received();
  const heard: string[] = [];

  const signs = () => heard.push(...socket.received()) && heard.filter((word) => word === "WATCHDOG=1").length;
  await expect.poll(signs).toBeGreaterThan(10);

  silent.close();
});

test("a loop that hangs gives no sign of life", async () => {
  await using home = await homeWithSpecs();
  using socket = listenForNotifications(join(home.folder, "notify"));
  const hang = encodeURIComponent(
    'import{writeSync}from"node:fs";process.on("SIGUSR2",()=>{writeSync(2,"it hangs\\n");for(;;);})',
  );
  const NODE_OPTIONS = `--import=data:text/javascript,${hang}`;
  const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "200000", NODE_OPTIONS };
  await using agent = await startAgent(home, { env });
  await told(socket, [], "WATCHDOG=1");

  agent.send("SIGUSR2");
  await expect.poll(agent.journal).toContain("it hangs");
  socket.received();
  await pause(2000);

  expect(socket.received()).toEqual([]);
});

test("SIGHUP and SIGUSR1 before anything is loaded are heard later, and open no inspector", async () => {
  await using home = await homeWithSpecs("web");
  const child = spawn(process.execPath, [await bundled(), "run", ...home.options], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const said = text(child.stderr);
  const [SIGHUP, SIGUSR1] = [1n << 0n, 1n << 9n];
  const catches = async (): Promise<boolean> => {
    const mask = BigInt(`0x${/^SigCgt:\t(\w+)$/m.exec(await readFile(`/proc/${child.pid}/status`, "utf8"))?.[1]}`);
    return (mask & SIGHUP) !== 0n && (mask & SIGUSR1) !== 0n;
  };
  while (!(await catches())) {}
  child.kill("SIGHUP");
  child.kill("SIGUSR1");
  while ((await certagent(home, "plan")).stderr !== "") {}
  child.kill("SIGTERM");

  const [code] = await once(child, "exit");

  expect(await said).toMatch(/^<6>reading everything again, and renewing every certificate signal=SIGHUP$/m);
  expect(await said).not.toContain("Debugger");
  expect(code).toBe(0);
});

test("SIGUSR1 writes a line of status for each certificate", async () => {
  await using home = await homeWithSpecs("mail", "web");
  await using agent = await startAgent(home, { level: "info" });
  await agent.until("both were tried", (all) => [...all.values()].every(({ state }) => state === "failing"));

  agent.send("SIGUSR1");

  const lines = () => agent.journal().filter((line) => line.startsWith("<6>status "));
  await expect
    .poll(lines)
    .toEqual([
      expect.stringMatching(
        /^<6>status certificate=mail state=failing because="[^"]+" next=issue at=\S+ code=CREDENTIAL_/,
      ),
      expect.stringMatching(
        /^<6>status certificate=web state=failing because="[^"]+" next=issue at=\S+ code=CREDENTIAL_/,
      ),
    ]);
});

test("a spec that is dropped, edited and removed is seen within moments", async () => {
  await using home = await homeWithSpecs();
  await using agent = await startAgent(home);

  await home.write("web", specOf(home, "web"));
  await agent.until("it is there", (all) => all.has("web"));
  await home.write("web", specOf(home, "other"));
  await agent.until("it has the other subject", (all) => all.get("web")?.subject === "other.internal");
  await home.remove("web");
  await agent.until("it is gone", (all) => !all.has("web"));
});

test("a folder of specs that is made after the start is seen", async () => {
  await using home = await makeHome(CONFIG);
  await rm(home.specs, { recursive: true });
  await using agent = await startAgent(home);

  await mkdir(home.specs);
  await home.write("web", specOf(home, "web"));

  await agent.until("it is there", (all) => all.has("web"));
});

test("a second agent, and once beside an agent, end with 1 and name the first", async () => {
  await using home = await homeWithSpecs("web");
  await using agent = await startAgent(home);

  for (const command of ["run", "once"]) {
    const { code, stderr } = await certagent(home, command);

    expect(stderr).toContain(`another agent (process ${agent.pid}) holds`);
    expect(code).toBe(1);
  }
});

test("status, plan and renew are answered by the agent, with the exit codes of the contract", async () => {
  await using home = await homeWithSpecs("web");
  await using agent = await startAgent(home);
  await agent.until("it was tried", (all) => all.get("web")?.state === "failing");

  const status = await certagent(home, "status");
  const plan = await certagent(home, "plan", "web");
  const renew = await certagent(home, "renew", "web", "web");
  const unknown = await certagent(home, "renew", "wbe");

  expect(status.stdout).toMatch(
    /^NAME .*\nweb +failing +- +- +issue in \d+ s +CREDENTIAL_MISSING .*\n\nweb is failing: /,
  );
  expect([status.code, status.stderr]).toEqual([3, ""]);
  expect(plan.stdout).toMatch(/^web: wait in \d+ s, Cannot mint: /);
  expect([plan.code, plan.stderr]).toEqual([0, ""]);
  expect(renew.stdout).toMatch(/^web: not renewed, failing: Cannot mint: .*\n {2}hint: /);
  expect([renew.code, renew.stderr]).toEqual([1, expect.stringMatching(/^certagent: web: Cannot mint: .*\n$/)]);
  expect([unknown.code, unknown.stdout, unknown.stderr]).toEqual([2, "", expect.stringContaining('no spec "wbe"')]);
  expect(JSON.parse((await certagent(home, "status", "--json")).stdout)).toMatchObject({
    agent: { running: true, pid: agent.pid, apply: "direct" },
    certificates: [{ name: "web", state: "failing", failure: { code: "CREDENTIAL_MISSING" } }],
  });
});

test.each(["unread", "closed"] as const)("output that is %s holds up nothing, and the end neither", async (output) => {
  await using home = await homeWithSpecs(...Array.from({ length: 40 }, (_, index) => `web-${index}`));
  await using agent = await startAgent(home, { output });
  await agent.until("all were tried", (all) => [...all.values()].every(({ state }) => state === "failing"));

  // More than the pipe and the backlog take together: each SIGUSR1 is 40 lines of 150 bytes.
  for (let round = 0; round < 150; round++) {
    agent.send("SIGUSR1");
    expect((await agent.status()).certificates).toHaveLength(40);
  }

  expect(await agent.stop()).toMatchObject({ code: 0 });
});

test("an environment that would let any CA in is refused", async () => {
  await using home = await homeWithSpecs();
  const env = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };

  await expect(startAgent(home, { env })).rejects.toThrow("NODE_TLS_REJECT_UNAUTHORIZED=0 is set");
});

test("a Node that is too old is told as that", async () => {
  await using home = await homeWithSpecs();
  const env = { NODE_OPTIONS: "--no-experimental-ffi" }; // as it is up to Node 26.8

  await expect(startAgent(home, { env })).rejects.toThrow(`Cannot run on Node ${process.version}: it has no node:ffi`);
});

test("a host without /proc is told as that", async () => {
  await using home = await homeWithSpecs();
  const through = ["unshare", "--mount", "/bin/sh", "-c", 'umount -l /proc && exec "$0" "$@"'];

  await expect(startAgent(home, { through })).rejects.toThrow("certagent needs /proc: mount -t proc proc /proc");
});

test("a folder of specs that was closed to the agent from the start is read soon after it is opened", async () => {
  await using home = await homeWithSpecs();
  const specs = join(home.folder, "apart", "specs"); // in a folder that nobody watches
  await mkdir(specs, { recursive: true });
  await chmod(home.folder, 0o755);
  await chmod(specs, 0o700);
  for (const folder of [home.state, home.runtime]) {
    await mkdir(folder, { recursive: true });
    await chown(folder, 65_534, 65_534);
  }
  const options = [...home.options, "--specs", specs];
  const through = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--pdeathsig=KILL"];
  await using agent = await startAgent({ ...home, options }, { level: "info", through });
  const journal = () => agent.journal().join("\n");
  await expect.poll(journal).toContain("permission denied");
  await pause(1000); // it watches

  await chmod(specs, 0o755);

  await expect.poll(journal).toContain("configuration problem is over");
});

test("status --watch, piped, shows it again when something changed, and ends when nobody reads", async () => {
  await using home = await homeWithSpecs();
  await using agent = await startAgent(home);
  const argv = [await bundled(), "status", "--watch", "--json", ...home.options];
  const watch = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  const names: string[][] = [];
  let rest = "";
  watch.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    const lines = `${rest}${chunk}`.split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) names.push(JSON.parse(line).certificates.map(({ name }: { name: string }) => name));
  });

  await expect.poll(() => names).toEqual([[]]);
  await home.write("web", specOf(home, "web"));
  await expect.poll(() => names.at(-1)).toEqual(["web"]);
  watch.stdout.destroy();
  await home.write("web", specOf(home, "other"));

  await once(watch, "exit");
  expect((await agent.status()).agent.running).toBe(true);
});

test("what is wrong with the configuration is in status and status --watch, and the journal tells when it is over", async () => {
  await using home = await homeWithSpecs("web");
  await using agent = await startAgent(home, { level: "info" });
  const misnamed = join(home.specs, "api.yml");
  await writeFile(misnamed, "subject: api.internal\n");
  await home.write("web", "subject: web.internal\n");
  const journal = () => agent.journal().map((line) => line.replace(/^<\d>/, ""));
  await expect.poll(journal).toContainEqual(expect.stringMatching(/^spec refused certificate=web/));

  const { stderr } = await certagent(home, "status");
  const argv = [await bundled(), "status", "--watch", ...home.options];
  const watch = spawn(process.execPath, argv, { stdio: ["ignore", "pipe", "inherit"] });
  const [shown] = await once(watch.stdout.setEncoding("utf8"), "data");
  const ended = once(watch, "exit");
  watch.stdout.destroy();
  await rm(misnamed);
  await home.write("web", specOf(home, "web"));

  expect(stderr).toContain(`${misnamed}: is not read`);
  expect(stderr).toContain("hint: certagent check says how to mend it");
  expect(shown).toContain(`${misnamed}: is not read`);
  await expect.poll(journal).toContain("spec accepted certificate=web");
  await expect.poll(journal).toContainEqual(expect.stringMatching(/^configuration problem is over reason=.*api\.yml/));
  await ended;
});

test("status --watch on a terminal redraws in place", async () => {
  await using home = await homeWithSpecs("web");
  await using _agent = await startAgent(home);
  const command = `stty cols 60 rows 10; exec ${process.execPath} ${await bundled()} status --watch ${home.options.join(" ")}`;
  const terminal = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"] });
  let screen = "";
  terminal.stdout.setEncoding("utf8").on("data", (chunk: string) => (screen += chunk));

  const frames = () => screen.split("\x1b[H").slice(1);
  await expect.poll(() => frames().length).toBeGreaterThan(2);
  terminal.stdin.write("\x03");
  await once(terminal, "exit");

  for (const frame of frames().slice(0, -1)) {
    const lines = frame.replaceAll(/\x1b\[[\d;]*[mKJ]/g, "").split("\r\n");
    expect(lines[0]).toMatch(/^NAME +STATE +PROVEN/);
    expect(lines.length).toBeLessThanOrEqual(10);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(60);
  }
});
