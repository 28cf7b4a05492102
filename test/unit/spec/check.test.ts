import { chmod, mkdir, symlink, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { expect, test } from "vitest";
import { type Run, run } from "../../../src/base/run.ts";
import { check } from "../../../src/spec/check.ts";
import { closedTo } from "../../../src/spec/trust.ts";
import { FACTS, HOST, specText, TRUST, type World, worldIn } from "./world.ts";

function judge(world: World, paths: readonly string[] = []) {
  const { folder, hostFile } = world;
  return check({ paths, folder, hostFile, trust: TRUST, facts: FACTS, run });
}

test("check of a good host counts every file that was read, the host configuration too", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.write("api", specText("api.internal", "/srv/api"));

  expect(await judge(world)).toEqual({ ok: true, files: 3, problems: [], warnings: [] });
});

test("check names every problem of host configuration and specs, in the shape of the contract", async () => {
  await using world = await worldIn();
  await writeFile(world.hostFile, HOST.replace("default_issuer: internal", "default_issuer: intern"));
  const text = specText("web.internal", "/srv/web").replace("key,", "key, mode: 0640,");
  await world.write("web", `${text}issuer: internal\n`);

  const { ok, files, problems } = await judge(world);

  expect({ ok, files }).toEqual({ ok: false, files: 2 });
  expect(problems).toEqual([
    {
      file: world.file("web"),
      line: 4,
      column: 26,
      key: "outputs[1].mode",
      message: "mode must be a string of octal digits, not the number 640",
      hint: 'write mode: "0640"; YAML reads 0640 without quotes as a decimal number',
    },
    {
      file: world.hostFile,
      line: 7,
      column: 17,
      key: "default_issuer",
      message: 'there is no issuer "intern"',
      hint: "did you mean internal?",
    },
  ]);
});

test("check says of metrics that this version has none, and takes all else", async () => {
  await using world = await worldIn();
  await writeFile(world.hostFile, `${HOST}metrics: { listen: "127.0.0.1:9469" }\n`);
  await world.write("web", specText("web.internal", "/srv/web"));

  const { ok, warnings } = await judge(world);

  expect(ok).toBe(true);
  expect(warnings).toEqual([
    expect.objectContaining({ file: world.hostFile, key: "metrics", message: "this version has no metrics yet" }),
  ]);
});

test("check by root warns of what the agent's user may not read", async () => {
  await using world = await worldIn();
  const { base, folder, hostFile } = world;
  await world.write("web", specText("web.internal", "/srv/web"));
  await chmod(world.file("web"), 0o640);
  await world.write("api", specText("api.internal", "/srv/api"));
  await chmod(folder, 0o750);

  const reader = { uid: 64_001, gid: 64_001 };
  const result = await check({ paths: [], folder, hostFile, trust: TRUST, reader, facts: FACTS, run });

  expect(result.ok).toBe(true);
  expect(result.warnings).toEqual(
    [base, folder, world.file("web")].map((file) =>
      expect.objectContaining({ file, message: `${file} is closed to user 64001, who is the agent's` }),
    ),
  );
});

test.each([
  ["others", 64_001, 64_001, 0o640, "o+r"],
  ["its group", 64_001, 0, 0o604, "g+r"],
  ["its user", 0, 0, 0o044, "u+r"],
])("what is closed to %s is opened to them alone", (_, uid, gid, mode, change) => {
  const reader = { uid: uid === 0 ? 64_001 : uid, gid };
  const stat = { uid: uid === 0 ? 64_001 : 0, gid: 0, mode: 0o100_000 | mode };

  expect(closedTo(reader, "/etc/web.yaml", stat)?.hint).toBe(`chmod ${change} /etc/web.yaml`);
});

test("check of a live folder refuses two specs that want one file", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/web"));
  await world.write("two", specText("two.internal", "/srv/web"));

  const { ok, problems } = await judge(world);

  expect(ok).toBe(false);
  expect(problems.map(({ message }) => message)).toEqual([
    "/srv/web.crt is wanted by spec two too",
    "/srv/web.crt is wanted by spec one too",
  ]);
});

test("check of a live folder refuses a file that others may write, by whatever path it is named", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await chmod(world.file("web"), 0o664);
  await symlink(world.folder, join(world.base, "alias"));

  for (const paths of [[], [world.file("web")], [join(world.base, "alias")]]) {
    const { ok, problems } = await judge(world, paths);

    expect(ok).toBe(false);
    expect(problems).toEqual([
      expect.objectContaining({ message: expect.stringContaining("can be written by its group") }),
    ]);
  }
});

test.each<[what: string, paths: (world: World) => string[]]>([
  ["all", () => []],
  ["the host configuration", ({ hostFile }) => [hostFile]],
  ["a spec", ({ file }) => [file("web")]],
])("check of %s refuses folders that others may write, as the daemon does, each once", async (_, paths) => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));
  await world.write("api", specText("api.internal", "/srv/api"));
  await chmod(world.base, 0o775);

  const { problems } = await judge(world, paths(world));

  const message = `${world.base} can be written by its group or an ACL`;
  const told = problems.map((problem) => [problem.message, problem.hint]);
  expect(new Set(told.map(String))).toEqual(new Set([`${message},chmod go-w ${world.base}`]));
  expect(new Set(problems.map(({ file }) => file)).size).toBe(problems.length);
});

test("check refuses a link in the live folder, as the daemon does, by whatever path it is named", async () => {
  await using world = await worldIn();
  await writeFile(join(world.base, "web.yaml"), specText("web.internal", "/srv/web"));
  await symlink("../web.yaml", world.file("web"));

  for (const paths of [[], [world.folder], [world.file("web")]]) {
    const { ok, problems } = await judge(world, paths);

    expect(ok).toBe(false);
    const [file, copy] = [world.file("web"), `${world.file("web")}.new`];
    expect(problems).toEqual([
      expect.objectContaining({
        message: expect.stringMatching(/it is a symbolic link$/),
        hint: expect.stringContaining(`cp ${file} ${copy} && mv ${copy} ${file}`),
      }),
    ]);
  }
});

test.each(["live", "other"])(
  "check of a file of the %s folder that nobody would read as a spec says so",
  async (place) => {
    await using world = await worldIn();
    const folder = place === "live" ? world.folder : join(world.folder, "..", place);
    await mkdir(folder, { recursive: true });
    const file = join(folder, "web.yml");
    await writeFile(file, specText("web.internal", "/srv/web"));

    const { ok, problems } = await judge(world, [file]);

    expect(ok).toBe(false);
    expect(problems).toEqual((await judge(world, [folder])).problems);
    expect(problems).toMatchObject([{ file, message: expect.stringContaining("is not read") }]);
  },
);

test("check takes the live folder by a path that is relative", async () => {
  await using world = await worldIn();
  await world.write("web", specText("web.internal", "/srv/web"));

  const { problems } = await judge(world, [relative(resolve(), world.folder)]);

  expect(problems).toEqual([]);
});

test("check away from the live folder judges content, and only warns about modes and shared files", async () => {
  await using world = await worldIn();
  const copy = join(world.base, "repository");
  await mkdir(copy);
  await writeFile(
    join(copy, "certagent.yaml"),
    HOST.replaceAll("internal:\n", "other:\n").replace(": internal", ": other"),
  );
  await writeFile(join(copy, "one.yaml"), `issuer: other\n${specText("one.internal", "/srv/web")}`);
  await writeFile(join(copy, "two.yaml"), specText("two.internal", "/srv/web"));
  await chmod(join(copy, "one.yaml"), 0o664);

  const { ok, files, problems, warnings } = await judge(world, [copy]);

  expect(problems).toEqual([]);
  expect({ ok, files }).toEqual({ ok: true, files: 3 });
  expect(warnings.map(({ message }) => message)).toEqual([
    `${copy}/one.yaml can be written by its group or an ACL`,
    "/srv/web.crt is wanted by spec two too",
    "/srv/web.crt is wanted by spec one too",
  ]);
});

test("check judges specs that stand alone with the host's configuration, and counts it", async () => {
  await using world = await worldIn();
  await writeFile(join(world.base, "web.yaml"), `issuer: other\n${specText("web.internal", "/srv/web")}`);

  const { files, problems } = await judge(world, [join(world.base, "web.yaml")]);

  expect(files).toBe(2);
  expect(problems.map(({ message }) => message)).toEqual(['there is no issuer "other"']);
});

test("check of specs where there is no host configuration says that issuers were not judged", async () => {
  await using world = await worldIn();
  await writeFile(join(world.base, "web.yaml"), `issuer: other\n${specText("web.internal", "/srv/web")}`);

  const { ok, files, warnings } = await check({
    paths: [join(world.base, "web.yaml")],
    folder: world.folder,
    hostFile: join(world.base, "missing.yaml"),
    trust: TRUST,
    facts: FACTS,
    run,
  });

  expect({ ok, files }).toEqual({ ok: true, files: 1 });
  expect(warnings.map(({ message }) => message)).toEqual([
    "there is no host configuration, so issuers were not judged",
  ]);
});

test("on a host without a name a spec that needs one is refused in the live folder alone", async () => {
  await using world = await worldIn();
  const text = specText("${fqdn}", "/srv/web");
  await world.write("web", text);
  await writeFile(join(world.base, "web.yaml"), text);
  const about = { ...world, trust: TRUST, facts: { fqdn: null, hostname: null }, run };

  expect((await check({ ...about, paths: [] })).problems).toEqual([
    expect.objectContaining({ message: expect.stringMatching(/^\$\{fqdn\} is not known/) }),
  ]);
  expect((await check({ ...about, paths: [join(world.base, "web.yaml")] })).ok).toBe(true);
});

test("check of a host configuration judges it as one, whatever its name", async () => {
  await using world = await worldIn();
  await writeFile(join(world.base, "production.yaml"), HOST.replace("url:", "ulr:"));

  const { problems } = await judge(world, [join(world.base, "production.yaml")]);

  expect(problems.map(({ key }) => key)).toEqual(["issuers.internal.ulr"]);
});

test("check of a path that is not there, and without a host configuration, are problems", async () => {
  await using world = await worldIn();
  const missing = join(world.base, "missing.yaml");

  const given = await judge(world, [missing]);
  const live = await check({ paths: [], folder: world.folder, hostFile: missing, trust: TRUST, facts: FACTS, run });

  expect(given.problems.map(({ message }) => message)).toEqual([`Cannot read "${missing}": no such file or folder`]);
  expect(live.problems.map(({ message }) => message)).toEqual([`Cannot read "${missing}": no such file or folder`]);
});

test("users and groups that this host does not have are warnings, and each is looked up once", async () => {
  await using world = await worldIn();
  const outputs = `outputs:
  - { format: fullchain, path: /srv/web.crt, owner: nobody-like-that, group: root }
  - { format: key, path: /srv/web.key, owner: nobody-like-that, group: 4711, mode: "0640", acl: ["g:no-such-group:r"] }
`;
  await world.write("web", `subject: web.internal\n${outputs}`);
  const asked: string[] = [];
  const counting: Run = (argv, options) => {
    asked.push(argv.join(" "));
    return run(argv, options);
  };

  const { folder, hostFile } = world;
  const { ok, warnings } = await check({ paths: [], folder, hostFile, trust: TRUST, facts: FACTS, run: counting });

  expect(ok).toBe(true);
  expect(warnings.map(({ key, message }) => `${key}: ${message}`)).toEqual([
    "outputs[0].owner: there is no user nobody-like-that on this host",
    "outputs[1].owner: there is no user nobody-like-that on this host",
    "outputs[1].acl[0]: there is no group no-such-group on this host",
  ]);
  expect(asked).toEqual(["getent passwd nobody-like-that", "getent group no-such-group"]);
});

test("a unit that this host does not have, or cannot reload, is warned about", async () => {
  await using world = await worldIn();
  const units = ["one.service", "two.service", "three.service", "gone.service", "four.service"];
  const services = units.map(
    (unit, at) => `  - { type: systemd, unit: ${unit}, action: ${at === 1 ? "restart" : "reload"} }`,
  );
  services.push("  - { type: command, reload: [/bin/true] }", "  - { type: none, unit: gone }");
  await world.write(
    "web",
    `subject: web.internal\noutputs: [{ format: key, path: /srv/web.key }]\nservices:\n${services.join("\n")}\n`,
  );
  const systemctl: Run = async (argv) => {
    const unit = argv.at(-1) ?? "";
    const state = unit === "gone.service" ? "not-found" : unit === "four.service" ? "masked" : "loaded";
    const output = `LoadState=${state}\nCanReload=${unit === "three.service" ? "yes" : "no"}\n`;
    return { exitCode: 0, signal: null, timedOut: false, output };
  };

  const { folder, hostFile } = world;
  const { warnings } = await check({ paths: [], folder, hostFile, trust: TRUST, facts: FACTS, run: systemctl });

  expect(warnings.flatMap(({ key, message }) => (key?.startsWith("services") ? [`${key}: ${message}`] : []))).toEqual([
    "services[0]: Cannot reload one: one.service has no ExecReload=",
    "services[3]: Cannot reload gone: there is no gone.service on this host",
    "services[6]: Cannot look at gone: there is no gone.service on this host",
  ]);
});

test("a spec whose files no server can use is warned about", async () => {
  await using world = await worldIn();
  await world.write("key", "subject: key.internal\noutputs:\n  - { format: key, path: /srv/key.pem }\n");
  await world.write("leaf", "subject: leaf.internal\noutputs:\n  - { format: fullchain, path: /srv/leaf.pem }\n");

  const { ok, warnings } = await judge(world);

  expect(ok).toBe(true);
  expect(warnings.map(({ message, hint }) => `${message} (${hint})`)).toEqual([
    "no output holds the certificate: no server can use the others (add { format: fullchain, path: … })",
    "no output holds the private key: no server can use the others (add { format: key, path: … })",
  ]);
});

test("the samples in config/ are accepted, and say nothing that looks like a slip", async () => {
  await using world = await worldIn();
  const none: Run = () => Promise.reject(new Error("not asked"));

  const { folder, hostFile } = world;
  const paths = ["config/certagent.yaml", "config/specs"];
  const result = await check({ paths, folder, hostFile, trust: TRUST, facts: FACTS, run: none });

  expect(result.problems).toEqual([]);
  expect(result.files).toBeGreaterThan(6);
  expect(result.warnings.filter(({ message }) => !/^there is no (user|group)|can be written/.test(message))).toEqual(
    [],
  );
});

test("a lifetime that a step-ca refuses unless it is configured for it is a warning", async () => {
  await using world = await worldIn();
  await world.write("short", `${specText("a.internal", "/srv/a")}lifetime: 61s\n`);
  await world.write("long", `${specText("b.internal", "/srv/b")}lifetime: 5m\n`);

  const { ok, warnings } = await judge(world);

  expect(ok).toBe(true);
  expect(warnings.map(({ file, key, message }) => [file.split("/").at(-1), key, message])).toEqual([
    ["short.yaml", "lifetime", "lifetime is under 5m, which a step-ca refuses unless it is configured for it"],
  ]);
});
