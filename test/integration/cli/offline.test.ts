/** Commands without a daemon: what is on disk, and what is missing there. */
import { execFile } from "node:child_process";
import { chmod, chown, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openGenerations } from "../../../src/store/generations.ts";
import { bundled, certagent, type Home, makeHome } from "../../servers/program.ts";

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

async function homeWithSpec(): Promise<Home> {
  const home = await makeHome(CONFIG);
  await home.write("web", `subject: web.internal\noutputs:\n  - { format: key, path: ${home.folder}/web.key }\n`);
  return home;
}

/** Debian's. */
const MAIL = 8;

const OFFLINE = /^certagent: no agent runs: this is told from what is on disk\ncertagent: hint: .*\n$/;

test("status tells from disk, says so, and leaves no trace", async () => {
  await using home = await homeWithSpec();

  const { code, stdout, stderr } = await certagent(home, "status");

  expect(stdout).toMatch(/^NAME +STATE +PROVEN +EXPIRES +NEXT +LAST FAILURE\nweb +pending +- +- +issue now +-\n/);
  expect(stdout).toContain("\nweb is pending: nothing was issued yet\n");
  expect(stderr).toMatch(OFFLINE);
  expect(code).toBe(3);
  expect(await readdir(home.folder)).toEqual(["certagent.yaml", "specs"]);
});

test("status beside another process that asks the CA does not take it for one that was killed", async () => {
  await using home = await homeWithSpec();
  const generations = openGenerations(join(home.state, "agent", "generations", "web"));
  await using _room = await generations.reserve(Date.now());

  const { stdout, stderr } = await certagent(home, "status", "--json");

  expect(JSON.parse(stdout)).toMatchObject({ certificates: [{ name: "web", state: "pending", failure: null }] });
  expect(stderr).toMatch(OFFLINE);
});

test("status --json from disk is the document of the contract", async () => {
  await using home = await homeWithSpec();

  const { stdout } = await certagent(home, "status", "--json");

  expect(JSON.parse(stdout)).toMatchObject({
    agent: { running: false, pid: null, since: null, apply: null },
    certificates: [{ name: "web", spec: join(home.specs, "web.yaml"), state: "pending", leaf: null, failure: null }],
  });
});

test.each(["status", "plan"])(
  "%s tells of all specs, though the generations of one cannot be read",
  async (command) => {
    await using home = await homeWithSpec();
    await home.write("mail", `subject: mail.internal\noutputs:\n  - { format: key, path: ${home.folder}/mail.key }\n`);
    await mkdir(join(home.state, "agent", "generations"), { recursive: true });
    await writeFile(join(home.state, "agent", "generations", "mail"), "no folder");

    const { stdout, stderr } = await certagent(home, command, "--json");

    expect(JSON.parse(stdout)).toMatchObject({ certificates: [{ name: "mail" }, { name: "web" }] });
    expect(stderr).toMatch(/Cannot read ".*\/generations\/mail": a part of the path is not a folder/);
  },
);

test("status tells of a configuration that is wrong as a whole, though no spec is, and that is to be mended", async () => {
  await using home = await makeHome({ ...CONFIG, default_isuer: "ca" });

  const { code, stdout, stderr } = await certagent(home, "status", "--json");

  const problem = /certagent\.yaml:\d+:\d+: unknown key "default_isuer"$/;
  expect(JSON.parse(stdout)).toMatchObject({ problems: [expect.stringMatching(problem)], certificates: [] });
  expect(stderr.match(/unknown key "default_isuer"$/gm)).toHaveLength(1);
  expect(stderr).toContain("hint: did you mean default_issuer?");
  expect(code).toBe(3);
});

test("status tells of an issuer of a kind that is to come, which is nobody's slip", async () => {
  const letsencrypt = { type: "acme", directory: "https://acme.example" };
  await using home = await makeHome({ ...CONFIG, issuers: { ...CONFIG.issuers, letsencrypt } });

  const { code, stdout, stderr } = await certagent(home, "status", "--json");

  expect(JSON.parse(stdout)).toMatchObject({ problems: [], certificates: [] });
  expect(stderr).toContain("this version has no issuer of type acme yet");
  expect(code).toBe(0);
});

test("plan tells from disk, says so, and leaves no trace", async () => {
  await using home = await homeWithSpec();

  const { code, stdout, stderr } = await certagent(home, "plan");

  expect(stdout).toMatch(/^web: issue now, nothing was issued yet\n( {2}- .+\n)+$/);
  expect(stderr).toMatch(OFFLINE);
  expect(code).toBe(0);
  expect(await readdir(home.folder)).toEqual(["certagent.yaml", "specs"]);
});

test("plan --json from disk is the document of the contract", async () => {
  await using home = await homeWithSpec();

  const { stdout } = await certagent(home, "plan", "--json", "web");

  expect(JSON.parse(stdout)).toEqual({
    certificates: [
      { name: "web", action: "issue", because: expect.any(String), at: expect.any(String), steps: expect.any(Array) },
    ],
  });
});

test.each(["status", "plan", "once"])("%s tells of a spec once, however often it is named", async (command) => {
  await using home = await homeWithSpec();

  const { stdout } = await certagent(home, command, "web", "web");

  expect(stdout.match(/^web[: ] *(?:pending|failing|issue)/gm)).toHaveLength(1);
});

test.each(["status", "plan", "once"])("%s of a spec that does not exist ends with 2", async (command) => {
  await using home = await homeWithSpec();

  const { code, stdout, stderr } = await certagent(home, command, "wbe");

  expect(stderr).toContain('There is no spec "wbe"\ncertagent: hint: did you mean "web"?');
  expect([code, stdout]).toEqual([2, ""]);
});

test.each([
  ["web.yaml", 'did you mean "web"?'],
  ["/etc/certagent.d/web.yaml", 'did you mean "web"?'],
  ["mail", "there are: web"],
  ["", "there are: web"],
])("status of %j, which is no spec, says what there is", async (name, hint) => {
  await using home = await homeWithSpec();

  const { code, stderr } = await certagent(home, "status", name);

  expect(stderr).toContain(`There is no spec "${name}"\ncertagent: hint: ${hint}`);
  expect(code).toBe(2);
});

test.each(["status", "plan", "once"])(
  "%s without a folder of specs is one clear line, and ends with 1",
  async (command) => {
    await using home = await makeHome(CONFIG);
    const options = [...home.options, "--specs", join(home.folder, "nowhere")];

    const { code, stdout, stderr } = await certagent({ options }, command);

    expect(stderr).toMatch(/^\S+ ?Cannot read "\S+\/nowhere": no such file or folder\b.*\n(certagent: hint: .*\n)?$/);
    expect([code, stdout]).toEqual([1, ""]);
  },
);

test.each(["status", "plan", "once"])(
  "%s without a host configuration is one clear line, and ends with 1",
  async (command) => {
    await using home = await homeWithSpec();
    const options = [...home.options, "--config", join(home.folder, "nowhere")];

    const { code, stdout, stderr } = await certagent({ options }, command);

    expect(stderr).toMatch(/^\S+ ?Cannot read "\S+\/nowhere": no such file or folder\b.*\n(certagent: hint: .*\n)?$/);
    expect([code, stdout]).toEqual([1, ""]);
  },
);

test("plan of a spec that cannot be understood says why, by its name and among all", async () => {
  await using home = await homeWithSpec();
  await home.write("bad", "subject: [");

  const one = await certagent(home, "plan", "bad");
  const all = await certagent(home, "plan");

  expect(one.stdout).toMatch(/^bad: wait, \S+\/bad\.yaml:1:10: not valid YAML: .*\n$/);
  expect(all.stdout).toContain(one.stdout);
  expect([one.code, all.code]).toEqual([0, 0]);
});

test("renew without a daemon says how to start one, and ends with 1", async () => {
  await using home = await homeWithSpec();

  const { code, stdout, stderr } = await certagent(home, "renew", "web");

  expect(stderr).toMatch(/^certagent: Cannot renew: no agent answers in "\S+"\ncertagent: hint: start it .*\n$/);
  expect([code, stdout]).toEqual([1, ""]);
});

test.each(["status", "renew"])("%s of somebody who may not ask is one clear line, and ends with 1", async (command) => {
  await using home = await homeWithSpec();
  await chmod(home.folder, 0o755);
  await mkdir(join(home.runtime, "control"), { recursive: true, mode: 0o700 });
  const argv = [process.execPath, await bundled(), command, ...home.options, ...(command === "renew" ? ["web"] : [])];

  const { code, stdout, stderr } = await asNobody(argv);

  expect(stderr).toMatch(
    /^certagent: Cannot ask the agent at "\S+": permission denied\ncertagent: hint: run this as root/,
  );
  expect(stderr.split("\n")).toHaveLength(3);
  expect([code, stdout]).toEqual([1, ""]);
});

test.each(["owner", "group"])("without root another's %s is an obstacle before anybody is asked", async (key) => {
  await using home = await makeHome(CONFIG);
  await home.write("web", `subject: web.internal\noutputs:\n  - { format: key, path: /srv/web.key, ${key}: root }\n`);
  await chmod(home.folder, 0o755);
  for (const folder of [home.state, home.runtime]) {
    await mkdir(folder);
    await chown(folder, 65_534, 65_534);
  }

  const { code, stdout } = await asNobody([process.execPath, await bundled(), "once", ...home.options]);

  expect(stdout).toContain('Cannot write "/srv/web.key": this process may not give it to ');
  expect(stdout).toContain(`hint: leave ${key} out of the spec, or run certagent as root`);
  expect(code).toBe(1);
});

test("a group that a folder gives all that is made in it is none that anybody has to give", async () => {
  await using home = await makeHome(CONFIG);
  await home.write(
    "web",
    `subject: web.internal\noutputs:\n  - { format: key, path: ${home.folder}/out/web.key, group: mail }\n`,
  );
  await chmod(home.folder, 0o755);
  for (const folder of [home.state, home.runtime, join(home.folder, "out")]) {
    await mkdir(folder);
    await chown(folder, 65_534, folder.endsWith("out") ? MAIL : 65_534);
  }
  await chmod(join(home.folder, "out"), 0o2775);

  const { stdout } = await asNobody([process.execPath, await bundled(), "plan", ...home.options]);

  expect(stdout).not.toContain("may not give it");
  expect(stdout).toContain("web");
});

/** The sources and Node must be readable for all: the bundle lies in a folder of root's. */
async function asNobody(argv: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const shown = join(argv[1] ?? "", "..");
  await chmod(shown, 0o755);
  return await new Promise((resolve) => {
    execFile("setpriv", ["--reuid=65534", "--regid=65534", "--clear-groups", ...argv], (error, stdout, stderr) => {
      resolve({ code: typeof error?.code === "number" ? error.code : 0, stdout, stderr });
    });
  });
}

test("check names what is wrong, where, and what to write", async () => {
  await using home = await homeWithSpec();
  await home.write("bad", "subject: bad.internal\noutputs:\n  - { format: key, path: /tmp/bad.key, mode: 0640 }\n");

  const people = await certagent(home, "check");
  const scripts = await certagent(home, "check", "--json");

  expect(people.stdout).toMatch(
    /\/bad\.yaml:3:\d+: .*mode.*\n {2}hint: .*"0640".*\n(.*\n)*3 files, 1 problem, \d warnings?\n$/,
  );
  expect(JSON.parse(scripts.stdout)).toMatchObject({
    ok: false,
    files: 3,
    problems: [{ file: join(home.specs, "bad.yaml"), line: 3, key: "outputs[0].mode", hint: expect.any(String) }],
  });
  expect([people.code, scripts.code, people.stderr, scripts.stderr]).toEqual([1, 1, "", ""]);
});

test("check of what is right ends with 0, of a missing file with 1", async () => {
  await using home = await homeWithSpec();

  expect(await certagent(home, "check")).toMatchObject({ code: 0, stderr: "" });
  expect(await certagent(home, "check", join(home.folder, "missing.yaml"))).toMatchObject({ code: 1, stderr: "" });
});

test("once ends with 1 where nothing could be issued, and its log says why", async () => {
  await using home = await homeWithSpec();

  const { code, stdout, stderr } = await certagent(home, "once");

  expect(stdout).toMatch(/^NAME .*\nweb +failing /);
  expect(stderr).toMatch(
    /^<4>cannot get a certificate certificate=web code=CREDENTIAL_MISSING .* attempt=1 try_again=\S+$/m,
  );
  expect(code).toBe(1);
});

test("--log-level debug shows the cause of an error, and its absence no stack", async () => {
  await using home = await makeHome(CONFIG);
  const options = [...home.options, "--specs", join(home.folder, "nowhere")];

  expect((await certagent({ options }, "plan")).stderr).not.toContain("cause:");
  expect((await certagent({ options }, "plan", "--log-level", "debug")).stderr).toMatch(
    /^certagent: cause: Error: ENOENT/m,
  );
});

test("the daemon does not write as root in the folder of another user", async () => {
  await using home = await homeWithSpec();
  const folder = join(home.state, "agent");
  await mkdir(folder, { recursive: true });
  await chown(folder, 65_534, 65_534);

  const { code, stderr } = await certagent(home, "run");

  expect(stderr).toContain(`Cannot use the state folder: "${folder}" is another agent's (of user 65534)`);
  expect(code).toBe(1);
  expect(await readdir(folder)).toEqual([]);
});

test.each([
  { command: "run", options: [] },
  { command: "once", options: [] },
  { command: "apply", options: ["--requests"] },
])("$command writes nothing as root where the state folder's owner has it lead", async ({ command, options }) => {
  await using home = await homeWithSpec();
  const elsewhere = join(home.folder, "elsewhere");
  await mkdir(elsewhere);
  await writeFile(join(elsewhere, "lock"), "root's");
  await mkdir(home.state, { recursive: true });
  await chown(home.state, 65_534, 65_534);
  for (const side of ["agent", "apply"]) await symlink(elsewhere, join(home.state, side));

  const { code, stderr } = await certagent(home, command, ...options);

  expect(stderr).toContain(`Cannot use "${home.state}": it belongs to user 65534, not to root`);
  expect(code).toBe(1);
  expect(await readdir(elsewhere)).toEqual(["lock"]);
  expect(await readFile(join(elsewhere, "lock"), "utf8")).toBe("root's");
});

test.each([
  { command: "run", side: "agent" },
  { command: "apply", side: "apply" },
])(
  "$command uses a state folder that is open to all and sticky, and in it nothing that another user made",
  async ({ command, side }) => {
    await using home = await homeWithSpec();
    await mkdir(join(home.state, side), { recursive: true });
    await chmod(home.state, 0o1777);
    const once = await certagent(home, "once");
    await chown(join(home.state, side), 65_534, 65_534);

    const { code, stderr } = await certagent(home, command, ...(command === "apply" ? ["--requests"] : []));

    expect(once.stderr).not.toContain("STATE_UNUSABLE");
    expect(stderr).toContain(`"${join(home.state, side)}"`);
    expect(stderr).toMatch(/user 65534/);
    expect(code).toBe(1);
  },
);

test("the daemon does not run as root where another user could move its socket's folder", async () => {
  await using home = await homeWithSpec();
  const runtime = join(home.folder, "theirs");
  await mkdir(runtime);
  await chown(runtime, 65_534, 65_534);
  await symlink(home.folder, join(runtime, "control"));
  const { mode } = await stat(home.folder);

  const { code, stderr } = await certagent({ options: [...home.options, "--runtime", runtime] }, "run");

  expect(stderr).toContain(`Cannot use "${runtime}": it belongs to user 65534, not to root`);
  expect(code).toBe(1);
  expect((await stat(home.folder)).mode).toBe(mode);
});
