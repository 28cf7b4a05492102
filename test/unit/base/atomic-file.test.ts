import { execFileSync } from "node:child_process";
import { lstatSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, mkdtempDisposable, readdir, readFile, readlink, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import {
  isTemporary,
  nodeFiles,
  publishFolder,
  replaceLink,
  temporaryPath,
  writeAtomically,
} from "../../../src/base/atomic-file.ts";
import { type FileCalls, fileCalls, type OpenFile } from "../../../src/base/file-calls.ts";
import { errnoOf } from "../../../src/base/file-error.ts";
import { makeFolder, makeFolders, removeDurably, removeFolder } from "../../../src/base/folder.ts";
import { readBounded } from "../../../src/base/read-file.ts";
import { run } from "../../../src/base/run.ts";

const folder = () => mkdtempDisposable(join(tmpdir(), "certagent-atomic-"));
const bytes = Buffer.from("new\n".repeat(1000));

test("a file is made with exactly its mode and owner, and nothing else is left", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");

  await writeAtomically(path, bytes, { mode: 0o604, gid: process.getgid?.() });

  expect(readFileSync(path)).toEqual(bytes);
  expect(lstatSync(path).mode & 0o7777).toBe(0o604);
  expect(await readdir(dir.path)).toEqual(["a"]);
});

test("whichever call fails, the old file stays whole and no temporary is left", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  for (let at = 1; ; at++) {
    await writeFile(path, "old");
    let count = 0;
    const files = Object.fromEntries(
      Object.entries(nodeFiles).map(([call, act]) => [
        call,
        async (...values: never[]) => {
          count += 1;
          if (count === at) throw Object.assign(new Error(call), { code: "EIO" });
          return await (act as (...values: never[]) => Promise<unknown>)(...values);
        },
      ]),
    ) as unknown as typeof nodeFiles;
    const failure = await writeAtomically(path, bytes, { mode: 0o600, files }).catch((error: unknown) => error);
    if (count < at) break;
    const text = readFileSync(path, "utf8");
    expect(["old", bytes.toString()], `call ${at}`).toContain(text);
    if (text === "old") expect(failure, `call ${at}`).toMatchObject({ code: "DEPLOY_FAILED" });
    expect(await readdir(dir.path), `call ${at}`).toEqual(["a"]);
  }
});

test("a write that falls short is continued, and one that gives nothing is a failure", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  const short: typeof nodeFiles.write = (file, all, offset) =>
    nodeFiles.write(file, all.subarray(0, offset + 7), offset);
  await writeAtomically(path, bytes, { mode: 0o600, files: { ...nodeFiles, write: short } });
  expect(readFileSync(path)).toEqual(bytes);

  const none: typeof nodeFiles.write = async (_, all) => ({ bytesWritten: 0, buffer: all });
  const failing = writeAtomically(path, Buffer.from("x"), { mode: 0o600, files: { ...nodeFiles, write: none } });

  await expect(failing).rejects.toMatchObject({ code: "DEPLOY_FAILED" });
  expect(readFileSync(path)).toEqual(bytes);
});

test("what the disk holds otherwise than it was written is not published", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  await writeFile(path, "old");
  const lying: typeof nodeFiles.read = async (file, buffer, offset) => {
    const result = await nodeFiles.read(file, buffer, offset);
    if (result.bytesRead > 0) buffer[offset] = 0;
    return result;
  };

  const failing = writeAtomically(path, bytes, { mode: 0o600, files: { ...nodeFiles, read: lying } });

  await expect(failing).rejects.toThrow("the disk does not hold what was written");
  expect(readFileSync(path, "utf8")).toBe("old");
});

test("a file system that keeps no modes, or knows no links, is told as that", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  const files = {
    ...nodeFiles,
    chmod: async () => {}, // as vfat mounted with "quiet"
    symlink: () => Promise.reject(Object.assign(new Error("ENOSYS: function not implemented"), { code: "ENOSYS" })),
  };

  const written = writeAtomically(path, bytes, { mode: 0o640, uid: 0, gid: 0, files });

  await expect(written).rejects.toMatchObject({
    message: `Cannot write "${path}": its file system keeps mode 0600 and owner 0:0 in place of mode 0640 and owner 0:0`,
    hint: expect.stringContaining(`findmnt -T ${dir.path} shows it`),
  });
  await expect(replaceLink("b", path, files)).rejects.toMatchObject({
    message: `Cannot write "${path}": its file system cannot do that`,
    hint: expect.stringContaining(`findmnt -T ${dir.path} shows`),
  });
  expect(await readdir(dir.path)).toEqual([]);
});

test("a link at the path is replaced, its target is not written", async () => {
  await using dir = await folder();
  await writeFile(join(dir.path, "victim"), "old");
  await symlink("victim", join(dir.path, "a"));

  await writeAtomically(join(dir.path, "a"), bytes, { mode: 0o600 });

  expect(readFileSync(join(dir.path, "victim"), "utf8")).toBe("old");
  expect(lstatSync(join(dir.path, "a")).isFile()).toBe(true);
});

test("a link in the folder's place is refused", async () => {
  await using dir = await folder();
  await mkdir(join(dir.path, "real"));
  await symlink("real", join(dir.path, "link"));

  await expect(writeAtomically(join(dir.path, "link", "a"), bytes, { mode: 0o600 })).rejects.toMatchObject({
    code: "DEPLOY_FAILED",
  });
  expect(await readdir(join(dir.path, "real"))).toEqual([]);
});

test("the inherited default ACL is off the file before it has its name", async () => {
  await using dir = await folder();
  execFileSync("setfacl", ["-d", "-m", "u:65534:rwx", dir.path]);
  const seen: string[] = [];
  const files = {
    ...nodeFiles,
    rename: async (from: string, to: string) => {
      seen.push(execFileSync("getfacl", ["-cnp", join(dir.path, from.split("/").at(-1) ?? "")], { encoding: "utf8" }));
      await nodeFiles.rename(from, to);
    },
  };

  await writeAtomically(join(dir.path, "a"), bytes, { mode: 0o640, files, run });

  expect(seen.map((text) => text.trim().split("\n"))).toEqual([["user::rw-", "group::r--", "other::---"]]);
});

test("at no moment can the group of a setgid folder read a file that is for another group", async () => {
  await using dir = await folder();
  execFileSync("chown", ["root:65534", dir.path]);
  execFileSync("chmod", ["2755", dir.path]);
  const seen: string[] = [];
  const look = async (file: OpenFile): Promise<void> => {
    const { gid, mode } = await nodeFiles.stat(file);
    seen.push(`${gid} ${(mode & 0o777n).toString(8)}`);
  };
  const files = {
    ...nodeFiles,
    chmod: async (file: OpenFile, mode: number) => {
      await nodeFiles.chmod(file, mode);
      await look(file);
    },
    chown: async (file: OpenFile, uid: number, gid: number) => {
      await look(file);
      await nodeFiles.chown(file, uid, gid);
    },
  };

  await writeAtomically(join(dir.path, "a"), bytes, { mode: 0o640, uid: 65534, gid: 5, files });

  expect(lstatSync(join(dir.path, "a"))).toMatchObject({ uid: 65534, gid: 5 });
  expect(seen.filter((moment) => moment.startsWith("65534"))).toEqual(["65534 600"]);
});

test("a missing folder is told with the command that makes it", async () => {
  await using dir = await folder();
  const path = join(dir.path, "no", "such", "a");

  await expect(writeAtomically(path, bytes, { mode: 0o600 })).rejects.toMatchObject({
    message: `Cannot open "${join(dir.path, "no/such")}": no such folder`,
    hint: `mkdir -p ${join(dir.path, "no/such")}`,
  });
});

test("EDQUOT, which Node has no name for, is told as a quota", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  const error = Object.assign(new Error("Unknown system error -122"), {
    code: "Unknown system error -122",
    errno: -122,
  });
  const files = { ...nodeFiles, sync: () => Promise.reject(error) };

  await expect(writeAtomically(path, bytes, { mode: 0o600, files })).rejects.toThrow(
    `Cannot write "${path}": disk quota exceeded`,
  );
});

test("a file that another process puts in its place at once is noticed", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  const files = {
    ...nodeFiles,
    rename: async (from: string, to: string) => {
      await nodeFiles.rename(from, to);
      await writeFile(`${path}.theirs`, "theirs");
      await nodeFiles.rename(`${path}.theirs`, path);
    },
  };

  await expect(writeAtomically(path, bytes, { mode: 0o600, files })).rejects.toThrow(
    "another process replaced it at once",
  );
});

test("a FIFO is not waited for, a link not followed, a long file not read", async () => {
  await using dir = await folder();
  execFileSync("mkfifo", [join(dir.path, "fifo")]);
  await symlink("long", join(dir.path, "link"));
  await writeFile(join(dir.path, "long"), "12345");

  await expect(readBounded(join(dir.path, "fifo"), 10)).rejects.toThrow("it is not a regular file");
  await expect(readBounded(join(dir.path, "link"), 10)).rejects.toThrow("it is a symbolic link");
  await expect(readBounded(join(dir.path, "long"), 4)).rejects.toThrow("longer than 4 bytes");
  expect(String(await readBounded(join(dir.path, "long"), 5))).toBe("12345");
});

test("folders are made with their mode whatever the umask, published, emptied and removed", async () => {
  await using dir = await folder();
  const old = process.umask(0o777);
  try {
    expect(await makeFolder(join(dir.path, "f"), { mode: 0o711 })).toBe(true);
    expect(await makeFolder(join(dir.path, "f"), { mode: 0o700 })).toBe(false);
  } finally {
    process.umask(old);
  }
  expect(lstatSync(join(dir.path, "f")).mode & 0o7777).toBe(0o711);

  const temporary = temporaryPath(dir.path);
  await makeFolder(temporary, { mode: 0o700 });
  await writeAtomically(join(temporary, "x"), bytes, { mode: 0o600 });
  await publishFolder(temporary, join(dir.path, "1"));
  await replaceLink("1", join(dir.path, "current"));
  expect(await readlink(join(dir.path, "current"))).toBe("1");
  await removeFolder(join(dir.path, "1"));
  await removeFolder(join(dir.path, "1"));

  expect(await removeDurably(join(dir.path, "current"))).toBe(true);
  expect(await removeDurably(join(dir.path, "current"))).toBe(false);
  expect(await readdir(dir.path)).toEqual(["f"]);
});

test("a folder has its mode from the start: who dies in the midst of making it leaves none that nobody can enter", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  const dying: FileCalls = { ...fileCalls, chmod: () => Promise.reject(new Error("killed")) };

  await expect(makeFolder(path, { mode: 0o755 }, dying)).rejects.toThrow("killed");

  expect(lstatSync(path).mode & 0o7777).toBe(0o755);
});

test("each folder of several that are made is made durable in the one above it", async () => {
  await using dir = await folder();
  const synced: string[] = [];
  const noting: FileCalls = {
    ...fileCalls,
    sync: async (file) => void synced.push(await readlink(`/proc/self/fd/${file.fd}`)),
  };

  await makeFolders(join(dir.path, "a", "b"), { mode: 0o711 }, noting);
  await makeFolders(join(dir.path, "a", "b"), { mode: 0o711 }, noting);

  expect(synced.map((path) => path.slice(dir.path.length))).toEqual(["/a", "", "/a/b", "/a"]);
  expect(lstatSync(join(dir.path, "a", "b")).mode & 0o7777).toBe(0o711);
});

test("only certagent's own temporary names are taken for such", async () => {
  const own = temporaryPath("/x").slice(3);

  expect([own, ".certagent-", ".certagent-0123456789abcdeg", `${own}x`, "certagent"].map(isTemporary)).toEqual([
    true,
    false,
    false,
    false,
    false,
  ]);
});

test("a full disk is told as that, and the old file stays", async () => {
  await using disk = await mountedTmpfs("size=64k");
  const path = join(disk.path, "a");
  await writeFile(path, "old");

  const failure = await writeAtomically(path, Buffer.alloc(100_000), { mode: 0o600 }).catch((error: unknown) => error);

  expect(failure).toMatchObject({
    message: `Cannot write "${path}": no space left on device`,
    hint: expect.any(String),
  });
  expect(errnoOf(failure)).toBe("ENOSPC");
  expect(readFileSync(path, "utf8")).toBe("old");
  expect(await readdir(disk.path)).toEqual(["a"]);
});

test("a disk without inodes is told as full", async () => {
  await using disk = await mountedTmpfs("size=64k,nr_inodes=2");
  await writeFile(join(disk.path, "a"), "");

  await expect(writeAtomically(join(disk.path, "b"), bytes, { mode: 0o600 })).rejects.toThrow(
    "no space left on device",
  );
});

test("a read-only disk is told as that", async () => {
  await using disk = await mountedTmpfs("size=64k");
  execFileSync("mount", ["-o", "remount,ro", disk.path]);

  await expect(writeAtomically(join(disk.path, "a"), bytes, { mode: 0o600 })).rejects.toThrow("read-only file system");
});

test("a file that is a mount point is told as that", async () => {
  await using disk = await mountedTmpfs("size=64k");
  const path = join(disk.path, "a");
  await writeFile(path, "old");
  execFileSync("mount", ["--bind", path, path]);
  try {
    await expect(writeAtomically(path, bytes, { mode: 0o600 })).rejects.toThrow("it is a mount point");
  } finally {
    execFileSync("umount", [path]);
  }
});

test("an immutable file is told with chattr as the remedy", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  await writeFile(path, "old");
  execFileSync("chattr", ["+i", path]);
  try {
    await expect(writeAtomically(path, bytes, { mode: 0o600 })).rejects.toMatchObject({
      message: `Cannot write "${path}": operation not permitted`,
      hint: expect.stringContaining("chattr"),
    });
  } finally {
    execFileSync("chattr", ["-i", path]);
  }
  expect(await readdir(dir.path)).toEqual(["a"]);
});

test("a folder that may only grow is told with chattr as the remedy, and the old file stays", async () => {
  await using dir = await folder();
  const path = join(dir.path, "a");
  await writeFile(path, "old");
  execFileSync("chattr", ["+a", dir.path]);
  try {
    await expect(writeAtomically(path, bytes, { mode: 0o600 })).rejects.toMatchObject({
      message: `Cannot write "${path}": operation not permitted`,
      hint: expect.stringContaining("chattr"),
    });
  } finally {
    execFileSync("chattr", ["-a", dir.path]);
  }
  expect(await readFile(path, "utf8")).toBe("old");
});

/** A disk of its own that really fills up. */
async function mountedTmpfs(options: string): Promise<AsyncDisposable & { path: string }> {
  const path = await mkdtemp(join(tmpdir(), "certagent-disk-"));
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "tmpfs", path]);
  return {
    path,
    [Symbol.asyncDispose]: async () => {
      execFileSync("umount", [path]);
      execFileSync("rmdir", [path]);
    },
  };
}
