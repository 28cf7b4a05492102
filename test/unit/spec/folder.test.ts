import { execFileSync } from "node:child_process";
import { link, mkdir, readdir, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatProblem } from "../../../src/spec/problem.ts";
import { HOST, specText, worldIn } from "./world.ts";

test("a good spec is in force, and is not parsed again while its file is the same", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));

  const first = await world.read();
  const second = await world.read();

  expect(first.specs.get("web")).toMatchObject({ problems: [], usingLastGood: false });
  expect(first.specs.get("web")?.desired?.request.subject).toBe("web.internal");
  expect(second.specs.get("web")?.desired).toBe(first.specs.get("web")?.desired);
  expect(second.host).toBe(first.host);
});

test("a broken edit leaves the last good version in force and says where it is broken", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await world.write("web", "subject: web.internal\noutput: []\n");
  const broken = (await world.read()).specs.get("web");
  await world.write("web", specText("web2.internal", "/srv/web"));
  const mended = (await world.read()).specs.get("web");

  expect(broken?.usingLastGood).toBe(true);
  expect(broken?.desired?.request.subject).toBe("web.internal");
  expect(broken?.problems.map(formatProblem)).toEqual([`${world.file("web")}:2:1: unknown key "output"`]);
  expect(mended).toMatchObject({ problems: [], usingLastGood: false });
  expect(mended?.desired?.request.subject).toBe("web2.internal");
});

test("a file that an editor has written half is read again when it is whole", async () => {
  await using world = await worldIn();
  const old = specText("web.internal", "/srv/web");
  const edited = specText("new.internal", "/srv/web");
  await world.write("web", old);
  await world.read();

  const seen: unknown[] = [];
  for (const length of [0, 10, 40, edited.length - 5, edited.length]) {
    await world.write("web", edited.slice(0, length));
    const entry = (await world.read()).specs.get("web");
    seen.push(`${entry?.desired?.request.subject} ${entry?.usingLastGood}`);
  }

  expect(seen).toEqual([...Array.from({ length: 4 }, () => "web.internal true"), "new.internal false"]);
});

test("the last good version is in force after a restart too", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();
  await world.write("web", "");

  await world.restart();
  const entry = (await world.read()).specs.get("web");

  expect(entry?.usingLastGood).toBe(true);
  expect(entry?.desired?.request.subject).toBe("web.internal");
});

test("a spec that was never good is not in force, and hinders no other", async () => {
  await using world = await worldIn();
  await world.write("bad", "subject: [");
  await world.write("web", specText("web.internal", "/srv/web"));

  const { specs } = await world.read();

  expect(specs.get("bad")).toMatchObject({ desired: undefined, usingLastGood: false });
  expect(specs.get("web")?.desired).toBeDefined();
});

test("what was last good of a removed spec is forgotten", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await rm(world.file("web"));
  const removed = await world.read();
  await world.write("web", "subject: [");
  const back = await world.read();

  expect(removed.specs.has("web")).toBe(false);
  expect(back.specs.get("web")?.desired).toBeUndefined();
});

test("what was last good of a spec that was removed while nobody looked is forgotten", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();
  await rm(world.file("web"));

  await world.restart();
  await world.read();

  expect(await readdir(join(world.lastGood, "specs"))).toEqual([]);
});

test("a folder that vanishes stops nothing, not even across a restart, and a folder that comes back is read", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await rename(world.folder, `${world.folder}.away`);
  const gone = await world.read();
  await world.restart();
  const restarted = await world.read();
  await rename(`${world.folder}.away`, world.folder);
  const back = await world.read();

  expect(gone.problems.map(({ message }) => message)).toEqual([
    `Cannot read "${world.folder}": no such file or folder`,
  ]);
  expect(gone.specs.get("web")?.desired).toBeDefined();
  expect(gone.specs.get("web")?.problems).toEqual(gone.problems);
  expect(restarted.specs.get("web")).toMatchObject({ usingLastGood: true });
  expect(back.specs.get("web")).toMatchObject({ usingLastGood: false, problems: [] });
});

test("a folder that others may write is not believed, and what was in force stays", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  execFileSync("chmod", ["g+w", world.folder]);
  await world.write("new", specText("new.internal", "/srv/new"));
  const { specs, problems } = await world.read();

  expect(problems.map(({ message, hint }) => [message, hint])).toEqual([
    [`${world.folder} can be written by its group or an ACL`, `chmod go-w ${world.folder}`],
  ]);
  expect([...specs.keys()]).toEqual(["web"]);
  expect(specs.get("web")?.desired).toBeDefined();
});

test("a change of the host configuration is seen in every spec", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await writeFile(
    world.hostFile,
    HOST.replaceAll("internal:\n", "other:\n").replace("default_issuer: internal", "default_issuer: other"),
  );
  const { host, specs } = await world.read();

  expect(host?.defaultIssuer).toBe("other");
  expect(specs.get("web")?.desired?.request.issuer).toBe("other");
});

test("a broken host configuration leaves the last good one in force, across a restart too", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await writeFile(world.hostFile, HOST.replace("url:", "ulr:"));
  const broken = await world.read();
  await world.restart();
  const restarted = await world.read();
  await rm(world.hostFile);
  const gone = await world.read();

  for (const { host, specs } of [broken, restarted, gone]) {
    expect(host?.issuers.size).toBe(1);
    expect(specs.get("web")).toMatchObject({ problems: [], usingLastGood: false });
  }
  expect(restarted.problems.map(({ key, hint }) => [key, hint])).toEqual([
    ["issuers.internal.ulr", "did you mean url?"],
  ]);
  expect(gone.problems.map(({ message }) => message)).toEqual([
    `Cannot read "${world.hostFile}": no such file or folder`,
  ]);
});

test("an issuer that is removed leaves its specs as they are, across a restart too, and says what is missing", async () => {
  await using world = await worldIn();
  await world.write("web", `issuer: internal\n${specText("web.internal", "/srv/web")}`);
  await world.read();

  await writeFile(world.hostFile, HOST.replaceAll("internal:", "other:").replace("default_issuer: internal", ""));
  const removed = await world.read();
  await world.restart();
  const restarted = await world.read();

  for (const { specs } of [removed, restarted]) {
    expect(specs.get("web")?.desired?.request.issuer).toBe("internal");
    expect(specs.get("web")?.problems.map(({ message }) => message)).toEqual(['there is no issuer "internal"']);
  }
});

test("a default issuer that is removed leaves the specs that took it as they are, across a restart too", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.read();

  await writeFile(world.hostFile, HOST.replace("default_issuer: internal", ""));
  const removed = await world.read();
  await world.restart();
  const restarted = await world.read();

  for (const { specs } of [removed, restarted]) {
    expect(specs.get("web")?.desired?.request.issuer).toBe("internal");
    expect(specs.get("web")?.problems.map(({ message }) => message)).toEqual([
      "issuer is missing, and there is no default_issuer",
    ]);
  }
});

test("of a host configuration that was never whole, the issuers that are whole can be used", async () => {
  await using world = await worldIn();
  await writeFile(world.hostFile, HOST.replace("issuers:\n", "issuers:\n  lost: { type: step-ca }\n"));
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.write("api", `issuer: lost\n${specText("api.internal", "/srv/api")}`);

  const { specs } = await world.read();

  expect(specs.get("web")?.desired).toBeDefined();
  expect(specs.get("api")?.problems.map(({ message }) => message)).toEqual([
    "issuer lost cannot be used: root is missing",
  ]);
});

test("an issuer of a kind that is to come costs only the specs that use it", async () => {
  await using world = await worldIn();
  const acme = "  public: { type: acme, directory: https://ca.example/directory }\n";
  await writeFile(world.hostFile, HOST.replace("issuers:\n", `issuers:\n${acme}`));
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.write("mail", `issuer: public\n${specText("mail.internal", "/srv/mail")}`);

  const { specs, host } = await world.read();
  await world.restart();
  const restarted = await world.read();

  expect(specs.get("web")?.desired).toBeDefined();
  expect(specs.get("mail")?.desired).toBeUndefined();
  expect(host?.unusable.get("public")).toBe("this version has no issuer of type acme yet");
  expect(restarted.host?.issuers.size).toBe(1);
});

test("without any host configuration there is no spec in force, and it says why", async () => {
  await using world = await worldIn();
  await rm(world.hostFile);
  await world.write("web", specText("web.internal", "/srv/web"));

  const { host, specs, problems } = await world.read();

  expect(host).toBeUndefined();
  expect(problems).toHaveLength(1);
  expect(specs.get("web")?.problems).toEqual([
    expect.objectContaining({ message: "cannot be used without a host configuration", hint: `see ${world.hostFile}` }),
  ]);
});

test("hidden files and backups are ignored, and a spec with a wrong name is complained about", async () => {
  await using world = await worldIn();
  for (const name of [".web.yaml", "web.yaml~", "web.yaml.bak", "web.yaml.dpkg-new", "README", ".web.yaml.swp"]) {
    await writeFile(join(world.folder, name), specText("x.internal", "/srv/x"));
  }
  await writeFile(join(world.folder, "web.yml"), specText("x.internal", "/srv/x"));
  await writeFile(join(world.folder, "my web.yaml"), specText("x.internal", "/srv/x"));
  await mkdir(join(world.folder, "archive"));

  const { specs, problems } = await world.read();

  expect([...specs.keys()]).toEqual([]);
  expect(problems.map(({ file }) => file)).toEqual([join(world.folder, "my web.yaml"), join(world.folder, "web.yml")]);
});

test("a file that is not believed leaves the last good version in force", async () => {
  await using world = await worldIn();
  const good = specText("web.internal", "/srv/web");
  await world.write("web", good);
  await world.read();
  const evil = join(world.base, "evil.yaml");
  await writeFile(evil, specText("evil.internal", "/srv/web"));
  const replacements: readonly (readonly [() => Promise<unknown>, RegExp])[] = [
    [() => symlink(evil, world.file("web")), /it is a symbolic link$/],
    [() => link(evil, world.file("web")), /has 2 names \(hard links\)/],
    [async () => execFileSync("mkfifo", [world.file("web")]), /it is not a regular file$/],
    [() => mkdir(world.file("web")), /it is a folder$/],
    [() => writable("chmod", "o+w"), /can be written by everybody$/],
    [() => writable("setfacl", "-m", "u:65534:rw"), /can be written by its group or an ACL$/],
  ];
  async function writable(...command: [string, ...string[]]): Promise<void> {
    await world.write("web", specText("evil.internal", "/srv/web"));
    execFileSync(command[0], [...command.slice(1), world.file("web")]);
  }

  for (const [replace, message] of replacements) {
    await rm(world.file("web"), { recursive: true });
    await replace();

    const entry = (await world.read()).specs.get("web");

    expect(entry?.problems.map((problem) => problem.message)).toEqual([expect.stringMatching(message)]);
    expect(entry?.usingLastGood).toBe(true);
    expect(entry?.desired?.request.subject).toBe("web.internal");
  }
});

test("a place for last good texts that cannot be written is said, and costs no spec", async () => {
  await using world = await worldIn();
  await world.read();
  await rm(world.lastGood, { recursive: true });
  await writeFile(world.lastGood, "in the way");
  await world.restart();
  await world.write("web", specText("web.internal", "/srv/web"));

  const { specs, problems } = await world.read();

  expect(specs.get("web")?.desired).toBeDefined();
  expect(problems.map(({ message }) => message)).toEqual(
    expect.arrayContaining([expect.stringContaining(`${world.lastGood}/specs`)]),
  );
});

test("readings that overlap wait for each other", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));

  const [first, second] = await Promise.all([world.read(), world.read()]);

  expect(second.specs.get("web")?.desired).toBe(first.specs.get("web")?.desired);
});
