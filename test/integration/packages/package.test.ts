import { execFile } from "node:child_process";
import { mkdir, mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import manifest from "../../../package.json" with { type: "json" };
import { type Architecture } from "../../../scripts/node-runtime.ts";
import { buildPackages } from "../../../scripts/package.ts";

// A hundred megabytes are packed, unpacked and looked through.
const execute = promisify(execFile);
const HERE: Architecture = process.arch === "arm64" ? "arm64" : "amd64";
/** Everything in the packages, but folders. */
const FILES = [
  "usr/bin/certagent",
  "usr/lib/certagent/certagent.mjs",
  "usr/lib/certagent/node",
  "usr/lib/systemd/system/certagent-apply.path",
  "usr/lib/systemd/system/certagent-apply.service",
  "usr/lib/systemd/system/certagent-apply.timer",
  "usr/lib/systemd/system/certagent-recover.service",
  "usr/lib/systemd/system/certagent.service",
  "usr/lib/systemd/system/run-certagent-control.mount",
  "usr/lib/systemd/system/run-certagent-requests.mount",
  "usr/lib/systemd/system/certagent.service.d/credential.conf",
  "usr/lib/sysusers.d/certagent.conf",
  "usr/lib/tmpfiles.d/certagent.conf",
  "usr/share/bash-completion/completions/certagent",
  "usr/share/doc/certagent/LICENSE.node",
  "usr/share/doc/certagent/LICENSES.txt",
  "usr/share/doc/certagent/README.md",
  "usr/share/doc/certagent/copyright",
  "usr/share/doc/certagent/migrate-from-step-timers.md",
  "usr/share/doc/certagent/examples/certagent.yaml",
  "usr/share/doc/certagent/examples/cloud-init.yaml",
  "usr/share/doc/certagent/examples/specs/web.yaml",
  "usr/share/fish/vendor_completions.d/certagent.fish",
  "usr/share/man/man1/certagent.1.gz",
  "usr/share/man/man5/certagent-spec.5.gz",
  "usr/share/man/man5/certagent.yaml.5.gz",
];

/** What the root side lists for systemd lies in its state, and is read from there at the next boot too. */
const DROP_IN =
  "usr/lib/systemd/system/certagent-apply.service.d/50-outputs.conf -> /var/lib/certagent/apply/outputs.conf";

let folder: Awaited<ReturnType<typeof mkdtempDisposable>>;
let deb: string;
let rpm: string;

beforeAll(async () => {
  folder = await mkdtempDisposable(join(tmpdir(), "certagent-packages-"));
  const made = await buildPackages(join(folder.path, "made"), { architectures: [HERE] });
  [deb = "", rpm = ""] = made;
});
afterEach(() => vi.unstubAllEnvs());
afterAll(() => folder[Symbol.asyncDispose]());

async function output(program: string, ...words: readonly string[]): Promise<string> {
  return (await execute(program, words, { maxBuffer: 2 ** 26 })).stdout;
}

interface Entry {
  readonly mode: string;
  readonly owner: string;
  readonly size: number;
}

/** Path → entry, of what `ls -l` and its likes print. */
function listed(lines: string, shape: RegExp): ReadonlyMap<string, Entry> {
  return new Map(
    [...lines.matchAll(shape)].map(({ groups: { mode = "", owner = "", size = "", path = "" } = {} }) => [
      path,
      { mode, owner, size: Number(size) },
    ]),
  );
}

async function debEntries(): Promise<ReadonlyMap<string, Entry>> {
  const lines = await output("dpkg-deb", "--contents", deb);
  return listed(lines, /^(?<mode>\S+) (?<owner>\S+) +(?<size>\d+) \S+ \S+ \.\/(?<path>.*?)$/gm);
}

function files(entries: ReadonlyMap<string, Entry>): readonly string[] {
  return [...entries].filter(([, { mode }]) => !mode.startsWith("d")).map(([path]) => path);
}

test("the deb holds everything, and names what it needs", async () => {
  const entries = await debEntries();
  const control = await output("dpkg-deb", "--field", deb, "Version", "Architecture", "Depends");

  expect(files(entries)).toEqual(
    expect.arrayContaining([...FILES, DROP_IN, "usr/share/doc/certagent/changelog.Debian.gz"]),
  );
  expect(control).toContain(`Version: ${manifest.version}-1\nArchitecture: ${HERE}\n`);
  for (const name of ["libatomic1", "acl", "dbus"]) expect(control).toMatch(new RegExp(`\\b${name}\\b`));
  expect(basename(deb)).toBe(`certagent_${manifest.version}-1_${HERE}.deb`);
});

test("everything in the deb is root's, nobody else may write it, and only programs can be executed", async () => {
  for (const [path, { mode, owner }] of await debEntries()) {
    expect(owner, path).toMatch(/^(?:root\/root|0\/0)$/);
    const isProgram = ["usr/bin/certagent", "usr/lib/certagent/node"].includes(path);
    if (path === DROP_IN) continue; // a link
    expect(mode, path).toBe(path.endsWith("/") || path === "" || isProgram ? `${mode[0]}rwxr-xr-x` : "-rw-r--r--");
  }
});

test("the deb has nothing that lintian calls an error", async () => {
  const found = await output("lintian", "--no-cfg", "--allow-root", "--fail-on", "none", "--info", deb);

  expect(found.split("\n").filter((line) => /^[EW]: /.test(line))).toEqual([]);
});

test("what is in the deb runs, with the version of the package", async () => {
  const root = join(folder.path, "root");
  await execute("dpkg-deb", ["--extract", deb, root]);
  const program = join(root, "usr/lib/certagent/certagent.mjs");

  const printed = await output(join(root, "usr/lib/certagent/node"), "--jitless", program, "version");

  expect(printed).toBe(`certagent ${manifest.version} (node ${process.versions.node})\n`);
});

test("the rpm holds the same files as the deb, with the same rights, and scripts that need nothing but systemd", async () => {
  const format = "[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILESIZES} %{FILENAMES}\\n]";
  const lines = await output("rpm", "--query", "--package", rpm, "--queryformat", format);
  const inRpm = listed(lines, /^(?<mode>\S+) (?<owner>\S+) (?<size>\d+) \/(?<path>.*)$/gm);
  const inDeb = await debEntries();

  for (const path of FILES) expect(inRpm.get(path), path).toEqual({ ...inDeb.get(path), owner: "root/root" });
  const inRpmAlone = ["usr/share/zsh/site-functions/_certagent", "usr/lib/systemd/system-preset/50-certagent.preset"];
  expect(files(inRpm)).toEqual(expect.arrayContaining(inRpmAlone));
  expect(await output("rpm", "--query", "--package", rpm, "--list", "--verbose")).toContain(`/${DROP_IN}\n`);
  const scripts = await output("rpm", "--query", "--package", rpm, "--scripts");
  expect(scripts).toContain("systemd-sysusers");
  expect(scripts).not.toMatch(/deb-systemd|dpkg|purge/);
  const requires = await output("rpm", "--query", "--package", rpm, "--requires");
  for (const name of ["libatomic", "acl", "dbus"]) expect(requires).toMatch(new RegExp(`^${name}$`, "m"));
});

test("rpm installs the package into a root folder, and all that it wrote is as the package says", async () => {
  const root = join(folder.path, "rpm-root");
  await mkdir(root);
  const database = ["--root", root, "--dbpath", "/var/lib/rpm"];
  await execute("rpm", [...database, "--initdb"]);
  await execute("rpm", [...database, "--install", "--nodeps", "--noscripts", "--ignorearch", rpm]);

  expect(await output("rpm", ...database, "--verify", "--nodeps", "--noscripts", "certagent")).toBe("");
});

test("two builds of the same sources are the same bytes whatever the umask, with the time that was asked for", async () => {
  vi.stubEnv("SOURCE_DATE_EPOCH", "1700000000");
  const build = (name: string) => buildPackages(join(folder.path, name), { architectures: [HERE], isQuick: true });

  const first = await build("first");
  const umask = process.umask(0o077);
  const second = await build("second").finally(() => process.umask(umask));

  expect(first.map((path) => basename(path))).toEqual([deb, rpm].map((path) => basename(path)));
  for (const [index, path] of first.entries()) {
    expect((await readFile(path)).equals(await readFile(second[index] ?? "")), basename(path)).toBe(true);
  }
  expect(await output("dpkg-deb", "--contents", first[0] ?? "")).not.toMatch(/ (?!2023-11-14)\d{4}-\d\d-\d\d /);
});

test.each(["deb/postinst", "deb/prerm", "deb/postrm", "rpm/post", "rpm/preun", "rpm/postun"])(
  "packaging/%s is a script of the POSIX shell",
  async (name) => {
    await expect(execute("dash", ["-n", join("packaging", name)])).resolves.toMatchObject({ stderr: "" });
  },
);
