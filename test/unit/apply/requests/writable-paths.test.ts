import { execFile } from "node:child_process";
import { chmod, chown, mkdir, mkdtempDisposable, readFile, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const execute = promisify(execFile);
const MODULE = join(import.meta.dirname, "../../../../src/apply/requests/writable-paths.ts");

interface Seen {
  readonly answer: string;
  readonly asked: readonly (readonly string[])[];
  readonly told: readonly (readonly [level: string, message: string, fields: Record<string, unknown>])[];
}

/** What the process sees as /srv: a folder that is root's all the way, as /tmp is not. */
const SRV = "/srv";

/** A folder with `etc` and `web` in it, which is seen as /srv, and the drop-in. */
async function scene() {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-writable-"));
  await mkdir(join(folder.path, "srv/etc/nginx/tls"), { recursive: true });
  await mkdir(join(folder.path, "srv/web"));
  const dropIn = join(folder.path, "outputs.conf");
  return Object.assign(folder, { outside: (name: string) => join(folder.path, "srv", name), dropIn });
}

const at = (name: string): string => join(SRV, name);

/** Calls the function in a process of its own, in a mount namespace where `mounts` (of a shell) were done before. */
async function openIn(
  root: string,
  mounts: string,
  files: readonly string[],
  { exitCode = 0, isUnread = false, meanwhile = "true" } = {},
): Promise<Seen> {
  const program = `
    import { execSync } from "node:child_process";
    import { createWritablePaths } from ${JSON.stringify(MODULE)};
    const [asked, told] = [[], []];
    const tell = (level) => (message, fields) => void told.push([level, message, fields]);
    const ask = async (argv) => {
      asked.push(argv);
      const output = argv[1] === "show" ? "NeedDaemonReload=" + (${isUnread} ? "yes" : "no") : "no bus";
      return { exitCode: ${exitCode}, signal: null, timedOut: false, output };
    };
    const log = { debug: tell("debug"), info: tell("info"), warning: tell("warning"), error: tell("error") };
    const paths = createWritablePaths({ ask, log, list: ${JSON.stringify(join(root, "outputs.conf"))} });
    let answer = await paths.open(${JSON.stringify(files)});
    execSync(${JSON.stringify(meanwhile)});
    if (answer === "ready") answer = await paths.open(${JSON.stringify(files)}); // tells nothing again
    process.stdout.write(JSON.stringify({ answer, asked, told }));`;
  const shell = `set -e; mount --bind "$2" ${SRV}; ${mounts}; exec "$0" --input-type=module --eval "$1"`;
  const argv = ["--mount", "sh", "-c", shell, process.execPath, program, join(root, "srv")];
  const { stdout } = await execute("unshare", argv);
  return JSON.parse(stdout) as Seen;
}

const readOnly = (path: string): string => `mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`;

test("where all folders can be written, nothing is done", async () => {
  await using place = await scene();

  const { answer, asked } = await openIn(place.path, "true", [at("etc/nginx/tls/a.pem"), at("web/new/b.pem")]);

  expect([answer, asked]).toEqual(["ready", []]);
  await expect(readFile(place.dropIn)).rejects.toThrow("ENOENT");
});

test("a folder that could be written and no longer can, as one made anew, has it started again with nothing else done", async () => {
  await using place = await scene();

  const { answer, asked, told } = await openIn(place.path, "true", [at("web/b.pem")], {
    meanwhile: readOnly(at("web")),
  });

  expect([answer, asked]).toEqual(["start again", []]);
  expect(told).toEqual([["info", expect.stringContaining("made anew"), { folders: [at("web")] }]]);
});

test("a folder on a read-only mount gets into the drop-in, and systemd reads it", async () => {
  await using place = await scene();
  const files = [at("etc/nginx/tls/a.pem"), at("etc/nginx/tls/a.key"), at("web/b.pem")];

  const { answer, asked, told } = await openIn(place.path, `${readOnly(at("etc"))}; ${readOnly(at("web"))}`, files);

  expect([answer, asked]).toEqual(["start again", [["systemctl", "daemon-reload"]]]);
  expect(told).toEqual([["info", expect.any(String), { folders: [at("etc/nginx/tls"), at("web")] }]]);
  expect(await readFile(place.dropIn, "utf8")).toMatch(
    /\[Service\]\nReadWritePaths=-"\/srv\/etc\/nginx\/tls"\nReadWritePaths=-"\/srv\/web"\n$/,
  );
});

test("of missing folders the nearest one that is there is listed, and none that lies in another", async () => {
  await using place = await scene();

  await openIn(place.path, readOnly(at("etc")), [at("etc/new/tls/a.pem"), at("etc/nginx/tls/a.pem")]);

  expect(await readFile(place.dropIn, "utf8")).toContain(`[Service]\nReadWritePaths=-"${at("etc")}"\n`);
});

test("a folder that stays closed although it is listed is told with the line to add, and does not start it again", async () => {
  await using place = await scene();
  const files = [at("etc/nginx/tls/a.pem")];
  await openIn(place.path, readOnly(at("etc")), files);

  const { answer, asked, told } = await openIn(place.path, readOnly(at("etc")), files);

  expect([answer, asked]).toEqual(["ready", [expect.arrayContaining(["show"])]]);
  expect(told).toEqual([
    [
      "warning",
      "cannot write a folder of outputs",
      {
        folder: at("etc/nginx/tls"),
        hint: expect.stringContaining(`ReadWritePaths=${at("etc/nginx/tls")}`),
      },
    ],
  ]);
});

test("a folder that is listed, where systemd has not read that yet, gets read", async () => {
  await using place = await scene();
  const files = [at("etc/nginx/tls/a.pem")];
  await openIn(place.path, readOnly(at("etc")), files);

  const { answer, asked } = await openIn(place.path, readOnly(at("etc")), files, { isUnread: true });

  expect([answer, asked.at(-1)]).toEqual(["start again", ["systemctl", "daemon-reload"]]);
});

test("what was listed before stays listed, so that two specs cannot take turns", async () => {
  await using place = await scene();
  await openIn(place.path, readOnly(at("etc")), [at("etc/nginx/tls/a.pem")]);

  await openIn(place.path, readOnly(at("web")), [at("web/100% mine/b.pem"), at("web/c.pem")]);

  const text = await readFile(place.dropIn, "utf8");
  expect(text).toContain(`ReadWritePaths=-"${at("etc/nginx/tls")}"\n`);
  expect(text).toContain(`ReadWritePaths=-"${at("web")}"\n`);
});

test("a percent sign in a folder is no specifier of systemd's", async () => {
  await using place = await scene();
  await mkdir(place.outside("web/100% mine"));

  await openIn(place.path, readOnly(at("web")), [at("web/100% mine/a.pem")]);

  expect(await readFile(place.dropIn, "utf8")).toContain(`ReadWritePaths=-"${at("web/100%% mine")}"\n`);
});

test.each([
  ["/home/alice/tls/a.pem", "/home"],
  ["/root/tls/b.pem", "/root"],
])("%s, of which systemd hides the home: all of %s is opened, and made visible", async (file, folder) => {
  await using place = await scene();
  const hide = "mount -t tmpfs -o mode=000,ro none /home; mount -t tmpfs -o mode=000,ro none /root";

  const { answer } = await openIn(place.path, hide, [file]);

  expect(answer).toBe("start again");
  expect(await readFile(place.dropIn, "utf8")).toContain(`[Service]\nProtectHome=no\nReadWritePaths=-"${folder}"\n`);
});

const ALICE = 4321;

test.each<[string, (outside: (name: string) => string) => Promise<void>]>([
  ["another user's", async (outside) => chown(outside("web/site"), ALICE, 0)],
  ["writable by a group", async (outside) => chmod(outside("web/site"), 0o775)],
  ["writable by all, and sticky", async (outside) => chmod(outside("web/site"), 0o1777)],
  ["writable by a user of its ACL", async (outside) => setAcl(outside("web/site"), `u:${ALICE}:rwx`)],
])("below a folder that is %s nothing is listed, whatever lies there", async (_, change) => {
  await using place = await scene();
  await mkdir(place.outside("web/site/tls"), { recursive: true });
  await change(place.outside);
  for (const [name, target] of [
    ["loop", "loop"],
    ["out", "/usr"],
  ] as const) {
    await symlink(target, place.outside(`web/site/${name}`));
  }
  await writeFile(place.outside("web/site/plain"), "");
  const files = ["tls", "loop", "out", "plain", "missing"].map((name) => at(`web/site/${name}/a.pem`));

  await openIn(place.path, readOnly(at("web")), files);

  expect(await readFile(place.dropIn, "utf8")).toContain(`[Service]\nReadWritePaths=-"${at("web")}"\n`);
});

async function setAcl(path: string, entry: string): Promise<void> {
  await execute("setfacl", ["-m", entry, path]);
}

test("where a link of root's leads is listed, and never the link, which may become another one", async () => {
  await using place = await scene();
  await symlink("../etc/nginx", place.outside("web/relative"));
  await symlink(at("etc/nginx"), place.outside("web/absolute"));
  await symlink("round", place.outside("web/round"));
  const files = ["relative/tls", "absolute/tls", "round/tls"].map((name) => at(`web/${name}/a.pem`));

  await openIn(place.path, readOnly(SRV), files);

  expect(await readFile(place.dropIn, "utf8")).toContain(
    `[Service]\nReadWritePaths=-"${at("etc/nginx/tls")}"\nReadWritePaths=-"${at("web")}"\n`,
  );
});

test("a listed folder that was given to another user since is listed no more, whether it is needed or not", async () => {
  await using place = await scene();
  await openIn(place.path, readOnly(SRV), [at("etc/nginx/tls/a.pem"), at("web/a.pem")]);
  await chown(place.outside("etc/nginx"), ALICE, 0);

  const { answer, asked } = await openIn(place.path, "true", []);

  expect([answer, asked]).toEqual(["start again", [["systemctl", "daemon-reload"]]]);
  expect(await readFile(place.dropIn, "utf8")).toContain(`[Service]\nReadWritePaths=-"${at("web")}"\n`);
});

test("where systemd cannot read it, that is told, and the next start tries again", async () => {
  await using place = await scene();
  const files = [at("etc/nginx/tls/a.pem")];

  const { answer, told } = await openIn(place.path, readOnly(at("etc")), files, { exitCode: 1 });

  expect(answer).toBe("ready");
  expect(told).toEqual([
    ["warning", expect.any(String), expect.objectContaining({ reason: expect.stringContaining("no bus") })],
  ]);
  await expect(readFile(place.dropIn)).rejects.toThrow("ENOENT");
});

test.each([
  ["/tmp/tls/a.pem", "namei -l /tmp/tls"],
  ["/certagent-no-such-folder/a.pem", "mkdir -p /certagent-no-such-folder"],
])("%s, for which the root folder would have to be opened: that is told with %s, and not done", async (file, hint) => {
  await using place = await scene();

  const { answer, told } = await openIn(place.path, readOnly("/"), [file]);

  const folder = dirname(file);
  expect(answer).toBe("ready");
  expect(told).toEqual([["warning", expect.any(String), { folder, hint: expect.stringContaining(hint) }]]);
  await expect(readFile(place.dropIn)).rejects.toThrow("ENOENT");
});
