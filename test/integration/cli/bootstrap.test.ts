/** How a host comes to trust its CA: `certagent bootstrap`, against the embedded CA and the real one. */
import { execFile } from "node:child_process";
import { chmod, mkdir, mkdtempDisposable, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { CAS } from "../../servers/ca-under-test.ts";
import { bundled, certagent } from "../../servers/program.ts";
import { toolPath } from "../../servers/tools.ts";

const run = promisify(execFile);
const fold = (fingerprint: string): string => fingerprint.toUpperCase().match(/../g)!.join(":");

let ca: DevCa;
let other: DevCa;
beforeAll(async () => {
  [ca, other] = await Promise.all([startDevCa(), startDevCa()]);
});
afterAll(async () => {
  await Promise.all([ca.stop(), other.stop()]);
});

async function scratch() {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-bootstrap-"));
  return { folder: folder.path, file: join(folder.path, "root.crt"), [Symbol.asyncDispose]: folder.remove };
}

async function bootstrap(url: string, fingerprint: string, file: string, ...more: readonly string[]) {
  const options = ["--ca-url", url, "--fingerprint", fingerprint, "--root", file, ...more];
  return await certagent({ options: [] }, "bootstrap", ...options);
}

describe.each(CAS)("against $name", ({ start }) => {
  test("the root is written as the configuration expects it, and a second run changes nothing and asks nobody", async () => {
    await using authority = await start();
    await using place = await scratch();
    const { fingerprint, pem } = authority.root;

    const first = await bootstrap(authority.url, fingerprint, place.file);
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toContain(
      `    url: ${authority.url}\n    root: { file: ${place.file}, fingerprint: ${fingerprint} }\n`,
    );
    expect(await readFile(place.file, "utf8")).toBe(pem);
    expect((await stat(place.file)).mode & 0o7777).toBe(0o644);
    expect(await readdir(place.folder)).toEqual(["root.crt"]);

    const before = await stat(place.file, { bigint: true });
    const asked = authority.requests().length;
    expect(await bootstrap(authority.url, fingerprint, place.file)).toMatchObject({ code: 0, stdout: first.stdout });
    expect(await stat(place.file, { bigint: true })).toMatchObject({ ino: before.ino, ctimeNs: before.ctimeNs });
    expect(authority.requests()).toHaveLength(asked);
  });

  test("a fingerprint that no root of the CA has is refused, and nothing is written", async () => {
    await using authority = await start();
    await using place = await scratch();

    const { code, stdout, stderr } = await bootstrap(authority.url, "0".repeat(64), place.file);

    expect([code, stdout]).toEqual([1, ""]);
    expect(stderr).toContain("certagent: hint: is the fingerprint right?");
    expect(await readdir(place.folder)).toEqual([]);
  });
});

test("the fingerprint that step prints is the one that it takes", async () => {
  await using place = await scratch();
  await writeFile(join(place.folder, "by-hand.crt"), ca.root.pem);
  const { stdout } = await run(toolPath("step"), ["certificate", "fingerprint", join(place.folder, "by-hand.crt")]);

  expect(await bootstrap(ca.url, stdout.trim(), place.file)).toMatchObject({ code: 0 });
  expect(await readFile(place.file, "utf8")).toBe(ca.root.pem);
});

test.each([
  ["with colons, as OpenSSL prints it", fold],
  ["in capital letters", (fingerprint: string) => fingerprint.toUpperCase()],
])("a fingerprint %s is the same", async (_title, written) => {
  await using place = await scratch();

  expect(await bootstrap(ca.url, written(ca.root.fingerprint), place.file)).toMatchObject({ code: 0, stderr: "" });
  expect(await bootstrap(ca.url, ca.root.fingerprint, place.file)).toMatchObject({ code: 0, stderr: "" });
});

describe("is refused, with nothing written:", () => {
  test("a CA that gives another root than the one it was asked for", async () => {
    await using place = await scratch();
    await using liar = await startDevCa();
    liar.faults = { answer: { status: 200, body: JSON.stringify({ ca: other.root.pem }) } };

    const { code, stderr } = await bootstrap(liar.url, liar.root.fingerprint, place.file);

    expect(stderr).toBe(
      `certagent: Cannot trust ${liar.url}: asked for the root ${liar.root.fingerprint}, it gave one with ${other.root.fingerprint}\n` +
        "certagent: hint: either the fingerprint is wrong, or somebody answers in the CA's place\n",
    );
    expect(code).toBe(1);
    expect(await readdir(place.folder)).toEqual([]);
  });

  test("a certificate that has the fingerprint and is no CA's", async () => {
    await using place = await scratch();
    await using liar = await startDevCa();
    const leaf = join(place.folder, "leaf");
    await run("openssl", [
      "req",
      "-x509",
      "-newkey",
      "ec",
      "-pkeyopt",
      "ec_paramgen_curve:P-256",
      "-nodes",
      "-keyout",
      "/dev/null",
      "-out",
      leaf,
      "-subj",
      "/CN=leaf",
      "-addext",
      "basicConstraints=critical,CA:FALSE",
    ]);
    const pem = await readFile(leaf, "utf8");
    const { stdout } = await run(toolPath("step"), ["certificate", "fingerprint", leaf]);
    liar.faults = { answer: { status: 200, body: JSON.stringify({ ca: pem }) } };

    const { code, stderr } = await bootstrap(liar.url, stdout.trim(), place.file);

    expect(stderr).toContain(`Cannot trust ${liar.url}: what has this fingerprint is no CA's certificate\n`);
    expect(code).toBe(1);
    expect(await readdir(place.folder)).toEqual(["leaf"]);
  });

  test("a CA that nobody can reach", async () => {
    await using place = await scratch();

    const { code, stderr } = await bootstrap("https://127.0.0.1:1", ca.root.fingerprint, place.file);

    expect(stderr).toContain("certagent: Cannot reach https://127.0.0.1:1: connection refused\n");
    expect(code).toBe(1);
    expect(await readdir(place.folder)).toEqual([]);
  });

  test.each([
    ["another root", () => other.root.pem, () => `the root ${other.root.fingerprint}`],
    [
      "the root and another one",
      () => ca.root.pem + other.root.pem,
      () => `the root ${ca.root.fingerprint} and the root ${other.root.fingerprint}`,
    ],
    ["no certificate", () => "127.0.0.1 localhost\n", () => "something else"],
    ["nothing", () => "", () => "something else"],
  ])("a file in its place that holds %s", async (_title, text, holds) => {
    await using place = await scratch();
    await writeFile(place.file, text());
    const asked = ca.requests.length;

    const { code, stderr } = await bootstrap(ca.url, ca.root.fingerprint, place.file);

    expect(stderr).toBe(
      `certagent: Cannot write "${place.file}": it is there, with ${holds()} in it\n` +
        `certagent: hint: compare the fingerprints; if the new one is right: mv ${place.file} ${place.file}.old\n`,
    );
    expect(code).toBe(1);
    expect(await readFile(place.file, "utf8")).toBe(text());
    expect(ca.requests).toHaveLength(asked);
  });

  test("a folder in its place, and more than one folder that is missing", async () => {
    await using place = await scratch();
    await mkdir(place.file);

    expect(await bootstrap(ca.url, ca.root.fingerprint, place.file)).toMatchObject({
      code: 1,
      stderr: `certagent: Cannot read "${place.file}": it is a folder\ncertagent: hint: mv ${place.file} ${place.file}.aside\n`,
    });
    const { code, stderr } = await bootstrap(ca.url, ca.root.fingerprint, join(place.folder, "a", "b", "root.crt"));
    expect(stderr).toContain(`hint: mkdir -p ${place.folder}/a\n`);
    expect(code).toBe(1);
  });

  test("a place that cannot be looked at is no defect of certagent", async () => {
    await using place = await scratch();
    await writeFile(place.file, "");

    expect(await bootstrap(ca.url, ca.root.fingerprint, join(place.file, "root.crt"))).toMatchObject({
      code: 1,
      stderr:
        `certagent: Cannot read "${place.file}/root.crt": a part of the path is not a folder\n` +
        `certagent: hint: namei -l ${place.file}/root.crt shows which\n`,
    });
  });

  test("a folder that this user cannot write", async () => {
    await using place = await scratch();
    await chmod(place.folder, 0o755);
    const program = await bundled();
    await chmod(join(program, ".."), 0o755);
    const command = ["--ca-url", ca.url, "--fingerprint", ca.root.fingerprint, "--root", place.file];

    const asNobody = run("/usr/bin/setpriv", [
      "--reuid=65534",
      "--regid=65534",
      "--clear-groups",
      process.execPath,
      program,
      "bootstrap",
      ...command,
    ]);

    await expect(asNobody).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining(`Cannot write "${place.file}": permission denied\n`),
    });
    expect(await readdir(place.folder)).toEqual([]);
  });
});

test("the folder of the file is made, for everybody to read", async () => {
  await using place = await scratch();
  const file = join(place.folder, "certagent", "root_ca.crt");

  expect(await bootstrap(ca.url, ca.root.fingerprint, file)).toMatchObject({ code: 0 });
  expect((await stat(join(file, ".."))).mode & 0o7777).toBe(0o755);
});

test("a file that is reached through a link is where the root is", async () => {
  await using place = await scratch();
  await writeFile(join(place.folder, "elsewhere"), ca.root.pem);
  await symlink("elsewhere", place.file);

  expect(await bootstrap(ca.url, ca.root.fingerprint, place.file)).toMatchObject({ code: 0, stderr: "" });
  expect((await readdir(place.folder)).toSorted()).toEqual(["elsewhere", "root.crt"]);
});

describe("--install", () => {
  /** In file systems of its own, so that this machine goes on to trust whom it trusted. */
  async function apart(prepare: string, look: string, file: string) {
    const command = [
      process.execPath,
      await bundled(),
      "bootstrap",
      "--install",
      "--ca-url",
      ca.url,
      "--fingerprint",
      ca.root.fingerprint,
      "--root",
      file,
    ];
    const script = `${prepare}\n"$@" || exit\n${look}`;
    return await run("unshare", ["--mount", "sh", "-ec", script, "sh", ...command]);
  }

  test("makes the programs of a Debian trust the CA, as often as it is run", async () => {
    await using place = await scratch();
    const prepare = `
      cp -a /etc/ssl/certs ${place.folder}/certs && mount --bind ${place.folder}/certs /etc/ssl/certs
      mount -t tmpfs tmpfs /usr/local/share/ca-certificates
      ! openssl verify -CApath /etc/ssl/certs -no-CAfile "${place.folder}/check" >/dev/null 2>&1`;
    await writeFile(join(place.folder, "check"), ca.root.pem);
    const look = `"$@" && ls /usr/local/share/ca-certificates && openssl verify -CApath /etc/ssl/certs -no-CAfile ${place.folder}/check`;

    const { stdout } = await apart(prepare, look, place.file);

    const name = `certagent-${ca.root.fingerprint.slice(0, 16)}.crt`;
    expect(stdout).toContain(`in the system's trust store: /usr/local/share/ca-certificates/${name}\n`);
    expect(stdout.endsWith(`\n${name}\n${place.folder}/check: OK\n`)).toBe(true);
  });

  test("does so the way of Fedora where its folder is, and says so where that fails", async () => {
    await using place = await scratch();
    const update = join(place.folder, "update-ca-trust");
    const prepare = `mount -t tmpfs tmpfs /mnt && mkdir -p /mnt/upper /mnt/work
      mount -t overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work overlay /etc
      mkdir -p /etc/pki/ca-trust/source/anchors
      mount -t tmpfs tmpfs /usr/local/sbin && install -m 0755 ${update} /usr/local/sbin/update-ca-trust`;
    const anchors = "/etc/pki/ca-trust/source/anchors";

    await writeFile(update, `#!/bin/sh\necho "$@" > ${place.folder}/called\n`);
    await apart(prepare, `cp ${anchors}/*.crt ${place.folder}/installed`, place.file);
    expect(await readFile(join(place.folder, "called"), "utf8")).toBe("extract\n");
    expect(await readFile(join(place.folder, "installed"), "utf8")).toBe(ca.root.pem);

    await writeFile(update, "#!/bin/sh\necho broken >&2; exit 1\n");
    await expect(apart(prepare, "true", place.file)).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^certagent: Cannot install "\S+": update-ca-trust failed: broken\n$/),
    });
  });
});
