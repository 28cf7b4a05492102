import { execFile } from "node:child_process";
import { mkdir, mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";

const execute = promisify(execFile);
const MODULE = join(import.meta.dirname, "../../../src/apply/writable-paths.ts");

interface Seen {
  readonly answer: string;
  readonly asked: readonly (readonly string[])[];
  readonly told: readonly (readonly [level: string, message: string, fields: Record<string, unknown>])[];
}

/** A folder with `etc` and `srv` in it, and systemd's folder of units. */
async function scene() {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-writable-"));
  await mkdir(join(folder.path, "etc/nginx/tls"), { recursive: true });
  await mkdir(join(folder.path, "srv"));
  await mkdir(join(folder.path, "units"));
  const dropIn = join(folder.path, "units/certagent-apply.service.d/50-outputs.conf");
  return Object.assign(folder, { at: (name: string) => join(folder.path, name), dropIn });
}

/** Calls the function in a process of its own, in a mount namespace where `mounts` (of a shell) were done before. */
async function openIn(root: string, mounts: string, files: readonly string[], exitCode = 0): Promise<Seen> {
  const program = `
    import { createWritablePaths } from ${JSON.stringify(MODULE)};
    const [asked, told] = [[], []];
    const tell = (level) => (message, fields) => void told.push([level, message, fields]);
    const ask = async (argv) => {
      asked.push(argv);
      return { exitCode: ${exitCode}, signal: null, timedOut: false, output: "no bus" };
    };
    const log = { debug: tell("debug"), info: tell("info"), warning: tell("warning"), error: tell("error") };
    const paths = createWritablePaths({ ask, log, units: ${JSON.stringify(join(root, "units"))} });
    const answer = await paths.open(${JSON.stringify(files)});
    if (answer === "ready") await paths.open(${JSON.stringify(files)}); // tells nothing again
    process.stdout.write(JSON.stringify({ answer, asked, told }));`;
  const shell = `set -e; ${mounts}; exec "$0" --input-type=module --eval "$1"`;
  const { stdout } = await execute("unshare", ["--mount", "sh", "-c", shell, process.execPath, program]);
  return JSON.parse(stdout) as Seen;
}

const readOnly = (path: string): string => `mount --bind ${path} ${path}; mount -o remount,bind,ro ${path}`;

test("where all folders can be written, nothing is done", async () => {
  await using at = await scene();

  const { answer, asked } = await openIn(at.path, "true", [at.at("etc/nginx/tls/a.pem"), at.at("srv/new/b.pem")]);

  expect([answer, asked]).toEqual(["ready", []]);
  await expect(readFile(at.dropIn)).rejects.toThrow("ENOENT");
});

test("a folder on a read-only mount gets into the drop-in, and systemd reads it", async () => {
  await using at = await scene();
  const files = [at.at("etc/nginx/tls/a.pem"), at.at("etc/nginx/tls/a.key"), at.at("srv/b.pem")];

  const { answer, asked, told } = await openIn(at.path, readOnly(at.at("etc")), files);

  expect([answer, asked]).toEqual(["start again", [["systemctl", "daemon-reload"]]]);
  expect(told).toEqual([["info", expect.any(String), { folders: [at.at("etc/nginx/tls")] }]]);
  expect(await readFile(at.dropIn, "utf8")).toMatch(
    /\[Service\]\nReadWritePaths=-"\/.+\/etc\/nginx\/tls"\nReadWritePaths=-"\/.+\/srv"\n$/,
  );
});

test("of missing folders the nearest one that is there is listed, and none that lies in another", async () => {
  await using at = await scene();

  await openIn(at.path, readOnly(at.at("etc")), [at.at("etc/new/tls/a.pem"), at.at("etc/nginx/tls/a.pem")]);

  expect(await readFile(at.dropIn, "utf8")).toContain(`[Service]\nReadWritePaths=-"${at.at("etc")}"\n`);
});

test("a folder that stays closed although it is listed is told with the line to add, and does not start it again", async () => {
  await using at = await scene();
  const files = [at.at("etc/nginx/tls/a.pem")];
  await openIn(at.path, readOnly(at.at("etc")), files);

  const { answer, asked, told } = await openIn(at.path, readOnly(at.at("etc")), files);

  expect([answer, asked]).toEqual(["ready", []]);
  expect(told).toEqual([
    [
      "warning",
      "cannot write a folder of outputs",
      {
        folder: at.at("etc/nginx/tls"),
        hint: expect.stringContaining(`ReadWritePaths=${at.at("etc/nginx/tls")}`),
      },
    ],
  ]);
});

test("what was listed before stays listed, so that two specs cannot take turns", async () => {
  await using at = await scene();
  await openIn(at.path, readOnly(at.at("etc")), [at.at("etc/nginx/tls/a.pem")]);

  await openIn(at.path, readOnly(at.at("srv")), [at.at("srv/100% mine/b.pem"), at.at("srv/c.pem")]);

  const text = await readFile(at.dropIn, "utf8");
  expect(text).toContain(`ReadWritePaths=-"${at.at("etc/nginx/tls")}"\n`);
  expect(text).toContain(`ReadWritePaths=-"${at.at("srv")}"\n`);
});

test("a percent sign in a folder is no specifier of systemd's", async () => {
  await using at = await scene();
  const folder = at.at("srv/100% mine");
  await mkdir(folder);

  await openIn(at.path, readOnly(at.at("srv")), [join(folder, "a.pem")]);

  expect(await readFile(at.dropIn, "utf8")).toContain(`ReadWritePaths=-"${at.at("srv/100%% mine")}"\n`);
});

test.each([
  ["/home/alice/tls/a.pem", "read-only", "/home/alice"],
  ["/root/b.pem", "no", "/root"],
])("%s below a home that systemd hides: that home is opened, and made visible", async (file, protectHome, folder) => {
  await using at = await scene();
  const hide = "mount -t tmpfs -o mode=000,ro none /home; mount -t tmpfs -o mode=000,ro none /root";

  const { answer } = await openIn(at.path, hide, [file]);

  expect(answer).toBe("start again");
  expect(await readFile(at.dropIn, "utf8")).toContain(
    `[Service]\nProtectHome=${protectHome}\nReadWritePaths=-"${folder}"\n`,
  );
});

test("where systemd cannot read it, that is told, and the next start tries again", async () => {
  await using at = await scene();
  const files = [at.at("etc/nginx/tls/a.pem")];

  const { answer, told } = await openIn(at.path, readOnly(at.at("etc")), files, 1);

  expect(answer).toBe("ready");
  expect(told).toEqual([
    ["warning", expect.any(String), expect.objectContaining({ reason: expect.stringContaining("no bus") })],
  ]);
  await expect(readFile(at.dropIn)).rejects.toThrow("ENOENT");
});

test("the root folder is never opened", async () => {
  await using at = await scene();

  const { answer, told } = await openIn(at.path, readOnly("/"), ["/certagent-no-such-folder/a.pem"]);

  expect(answer).toBe("ready");
  expect(told).toEqual([["warning", expect.any(String), { folder: "/", hint: "make the folder of the output first" }]]);
});
