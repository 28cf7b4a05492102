import { execFileSync } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  chown,
  lstat,
  mkdir,
  mkdtemp,
  open as openFile,
  readFile,
  rm,
  symlink,
  writeFile,
} from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { distrustOfFile, distrustOfFolder, readTrusted } from "../../../src/spec/trust.ts";
import { TRUST } from "./world.ts";

async function temporary(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "certagent-trust-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

test("a file of root or of one's own in folders that nobody else can write is believed", async () => {
  await using base = await temporary();
  await writeFile(join(base.path, "web.yaml"), "a: b\n", { mode: 0o644 });

  const read = await readTrusted(join(base.path, "web.yaml"), TRUST);

  expect(read).toMatchObject({ bytes: Buffer.from("a: b\n") });
});

test("a file of somebody else is not believed", async () => {
  await using base = await temporary();
  const file = join(base.path, "web.yaml");
  await writeFile(file, "", { mode: 0o644 });
  const stat = await lstat(file, { bigint: true });

  const distrust = distrustOfFile(file, stat, { users: [Number(stat.uid) + 1] });

  expect(distrust?.message).toBe(`${file} belongs to user ${stat.uid}, not to root`);
});

test("what makes a file of somebody else believed leaves nobody a way to write it that was open before", async () => {
  await using base = await temporary();
  const path = join(base.path, "web.yaml");
  await writeFile(path, "theirs", { mode: 0o666 });
  await chown(path, 65_534, 65_534);
  await using open = await openFile(path, "r+");

  const { hint = "" } = distrustOfFile(path, await lstat(path, { bigint: true }), { users: [0] }) ?? {};
  execFileSync("/bin/sh", ["-c", /cp .* && mv \S+ \S+/.exec(hint)?.[0] ?? hint]);
  await open.write("root's?");

  expect(distrustOfFile(path, await lstat(path, { bigint: true }), { users: [0] })).toBeUndefined();
  expect(await readFile(path, "utf8")).toBe("theirs");
});

test("a sticky folder of root may be on the way, and not be the folder itself", async () => {
  await using base = await temporary();
  const shared = join(base.path, "shared");
  const own = join(shared, "own");
  await mkdir(own, { recursive: true, mode: 0o755 });
  await chmod(shared, 0o1777);

  expect(await distrustOfFolder(own, TRUST)).toBeUndefined();
  expect(await distrustOfFolder(shared, TRUST)).toEqual({
    message: `${shared} can be written by everybody`,
    hint: "use another folder: this one is there for everybody",
  });
});

test("a folder on the way that everybody can write is not believed", async () => {
  await using base = await temporary();
  const own = join(base.path, "open", "own");
  await mkdir(own, { recursive: true });
  await chmod(join(base.path, "open"), 0o777);

  expect((await distrustOfFolder(own, TRUST))?.message).toBe(`${base.path}/open can be written by everybody`);
});

test("a folder on the way that an ACL lets somebody write is not believed", async () => {
  await using base = await temporary();
  const own = join(base.path, "listed", "own");
  await mkdir(own, { recursive: true });
  execFileSync("setfacl", ["-m", "u:65534:rwx", join(base.path, "listed")]);

  expect((await distrustOfFolder(own, TRUST))?.message).toBe(
    `${base.path}/listed can be written by its group or an ACL`,
  );
});

test("a link on the way is judged by where it stands and by where it leads", async () => {
  await using base = await temporary();
  await mkdir(join(base.path, "good", "specs"), { recursive: true });
  await mkdir(join(base.path, "open", "specs"), { recursive: true });
  await symlink("good", join(base.path, "to-good"));
  await symlink(join(base.path, "open/specs"), join(base.path, "to-open"));
  await symlink("../good/specs", join(base.path, "open/back"));
  await symlink("open/back", join(base.path, "through-open"));
  await chmod(join(base.path, "open"), 0o777);

  const open = { message: `${base.path}/open can be written by everybody`, hint: `chmod go-w ${base.path}/open` };
  expect(await distrustOfFolder(join(base.path, "to-good/specs"), TRUST)).toBeUndefined();
  expect(await distrustOfFolder(join(base.path, "to-open"), TRUST)).toEqual(open);
  expect(await distrustOfFolder(join(base.path, "through-open"), TRUST)).toEqual(open);
});

test("links that lead to each other end", async () => {
  await using base = await temporary();
  await symlink("b", join(base.path, "a"));
  await symlink("a", join(base.path, "b"));

  const read = await readTrusted(join(base.path, "a", "web.yaml"), TRUST);

  expect(read).toMatchObject({ isMissing: false, problem: { file: join(base.path, "a", "web.yaml") } });
});

test("a socket is told as that", async () => {
  await using base = await temporary();
  const socket = join(base.path, "web.yaml");
  await using server = createServer();
  await once(server.listen(socket), "listening");

  const read = await readTrusted(socket, TRUST, "folder was judged");

  const hint = `ls -l ${socket} shows what it is`;
  expect(read).toMatchObject({ problem: { message: expect.stringContaining("it is a socket"), hint } });
});

test("a FIFO and a device are refused without waiting for them", async () => {
  await using base = await temporary();
  const fifo = join(base.path, "web.yaml");
  execFileSync("mkfifo", [fifo]);

  for (const file of [fifo, "/dev/zero"]) {
    const read = await readTrusted(file, TRUST, "folder was judged");

    expect(read).toMatchObject({ problem: { message: `Cannot read "${file}": it is not a regular file` } });
  }
});
