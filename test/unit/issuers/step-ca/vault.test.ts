import {
  chmod,
  chown,
  lchown,
  mkdir,
  mkdtempDisposable,
  readFile,
  rename,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { HOUR, type Instant, MINUTE, systemClock } from "../../../../src/base/time.ts";
import { type KeptSecrets, keepSecrets } from "../../../../src/issuers/kept-secrets.ts";
import type { SecretKind } from "../../../../src/issuers/step-ca/config.ts";
import { createVault, removeUsed, secretSince, type Vault } from "../../../../src/issuers/step-ca/vault.ts";

let folder: AsyncDisposable & { readonly path: string };
let file: string;
let now: Instant;

beforeEach(async () => {
  folder = await mkdtempDisposable(join(tmpdir(), "certagent-vault-"));
  file = join(folder.path, "secret");
  now = systemClock.now();
});
afterEach(() => folder[Symbol.asyncDispose]());

function vaultOf(
  kind: SecretKind,
  deleteAfterUse: boolean,
  forgotten = (): void => {},
  keptSecrets?: KeptSecrets,
): Vault {
  const context = { clock: { ...systemClock, now: () => now }, userAgent: "certagent/test", keptSecrets };
  return createVault(kind, { file, deleteAfterUse }, context, forgotten);
}

async function texts(vault: Vault): Promise<readonly string[]> {
  return (await vault.secrets()).map(({ bytes }) => bytes.toString());
}

/** One attempt with the first secret there is, which ends as `attempt` does. */
async function useFirst(vault: Vault, attempt: (spoil: () => void) => Promise<void> = async () => {}): Promise<void> {
  const [secret] = await vault.secrets();
  if (secret === undefined) throw new Error("there is no secret");
  await vault.use(secret, () => {}, attempt);
}

const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

test.each<[SecretKind, string, string]>([
  ["password", "pass word \n", "pass word "],
  ["password", "two\n\n", "two\n"],
  ["password", "dos\r\n", "dos"],
  ["password", "none", "none"],
  ["token", "a.b.c \r\n\n", "a.b.c"],
  ["key", "{}\n", "{}"],
])("of a %s file that holds %j the secret is %j", async (kind, written, secret) => {
  await writeFile(file, written);

  expect(await texts(vaultOf(kind, false))).toEqual([secret]);
});

test("a file that appears later is found, and one that is not to be deleted stays", async () => {
  const vault = vaultOf("password", false);
  const before = await texts(vault);
  await writeFile(file, "x");

  await useFirst(vault);

  expect(before).toEqual([]);
  expect(await exists(file)).toBe(true);
  expect(await texts(vault)).toEqual(["x"]);
});

test("when a secret was put in its place is known, whatever it is", async () => {
  const since = () => secretSince({ file, deleteAfterUse: false }, { clock: systemClock, userAgent: "certagent/test" });
  const missing = await since();
  const before = systemClock.now();
  await writeFile(file, "");

  const there = await since();

  expect(missing).toBeNull();
  expect(Math.abs((there ?? 0) - before)).toBeLessThan(MINUTE);
});

test("an empty file is said to be empty", async () => {
  await writeFile(file, "\n");

  await expect(vaultOf("password", false).secrets()).rejects.toMatchObject({
    code: "CREDENTIAL_MISSING",
    message: `Cannot use "${file}": it is empty`,
  });
});

test("a folder in its place is named, with the code of a missing credential", async () => {
  file = folder.path;

  await expect(vaultOf("password", false).secrets()).rejects.toMatchObject({ code: "CREDENTIAL_MISSING" });
});

describe("a secret that is deleted after use", () => {
  test.each([
    ["succeeded", async () => {}],
    ["failed", () => Promise.reject(new Error("unreachable"))],
  ])("is gone from the disk when the attempt has %s, and is kept in memory", async (_, attempt) => {
    await writeFile(file, "secret");
    const vault = vaultOf("password", true);

    await useFirst(vault, attempt).catch(() => {});

    expect(await exists(file)).toBe(false);
    expect(await texts(vault)).toEqual(["secret"]);
    vault.clear();
    expect(await texts(vault)).toEqual([]);
  });

  test("is still on the disk while the attempt goes on", async () => {
    await writeFile(file, "secret");
    let seen = false;

    await useFirst(vaultOf("password", true), async () => {
      seen = await exists(file);
    });

    expect(seen).toBe(true);
  });

  test("is not kept where the attempt spoilt it", async () => {
    await writeFile(file, "token");
    const vault = vaultOf("token", true);

    await useFirst(vault, async (spoil) => spoil());

    expect(await texts(vault)).toEqual([]);
  });

  test.each([HOUR, -HOUR])("is forgotten when the clock has moved by %d ms", async (span) => {
    await writeFile(file, "secret");
    let forgotten = 0;
    const vault = vaultOf("password", true, () => forgotten++);
    await useFirst(vault);
    now += span - Math.sign(span) * MINUTE;
    const before = await texts(vault);

    now += Math.sign(span) * MINUTE;

    expect(before).toEqual(["secret"]);
    expect(await texts(vault)).toEqual([]);
    expect(forgotten).toBe(1);
  });

  test("gives way to a newer one, where it is a password", async () => {
    const vault = vaultOf("password", true);
    await writeFile(file, "old");
    await useFirst(vault);
    await writeFile(file, "new");

    await useFirst(vault);

    expect(await texts(vault)).toEqual(["new"]);
  });

  test.each(["an empty file", "a folder"])("does as well where %s came in its place", async (what) => {
    const vault = vaultOf("password", true);
    await writeFile(file, "secret");
    await useFirst(vault);
    await (what === "a folder" ? mkdir(file) : writeFile(file, ""));

    expect(await texts(vault)).toEqual(["secret"]);
  });

  test("outlives a change of its issuer's configuration, and is forgotten once by whom it is there for then", async () => {
    const kept = keepSecrets(systemClock);
    const told: string[] = [];
    const before = vaultOf("password", true, () => told.push("before"), kept);
    await writeFile(file, "secret");
    await useFirst(before);

    const after = vaultOf("password", true, () => told.push("after"), kept);

    expect(await texts(after)).toEqual(["secret"]);
    expect(after.isHolding()).toBe(true);
    after.clear();
    expect(told).toEqual(["after"]);
    expect(before.isHolding()).toBe(false);
  });

  test("is of its own kind and place alone", async () => {
    const kept = keepSecrets(systemClock);
    await writeFile(file, "secret");
    await useFirst(vaultOf("password", true, undefined, kept));

    expect(await texts(vaultOf("key", true, undefined, kept))).toEqual([]);
    file = join(folder.path, "elsewhere");
    expect(await texts(vaultOf("password", true, undefined, kept))).toEqual([]);
    await writeFile(file, "secret");
    await useFirst(vaultOf("password", true, undefined, kept));
    expect(await texts(vaultOf("password", true, undefined, kept))).toEqual(["secret"]);
  });

  test("stands beside others, where it is a token, the newest first", async () => {
    const vault = vaultOf("token", true);
    for (const token of ["one", "two"]) {
      await writeFile(file, token);
      await useFirst(vault);
    }
    await writeFile(file, "three");

    expect(await texts(vault)).toEqual(["three", "two", "one"]);
  });

  test("is not deleted in the place of one that was put there meanwhile", async () => {
    await writeFile(file, "old");

    await useFirst(vaultOf("token", true), () => writeFile(file, "new"));

    expect(await readFile(file, "utf8")).toBe("new");
  });

  test("is refused where it is a link, since the secret would stay where that leads", async () => {
    const target = join(folder.path, "target");
    await writeFile(target, "secret");
    await symlink(target, file);

    await expect(vaultOf("password", true).secrets()).rejects.toMatchObject({
      code: "CREDENTIAL_MISSING",
      message: `Cannot read "${file}": it is a symbolic link`,
    });
    expect(await texts(vaultOf("password", false))).toEqual(["secret"]);
  });
});

test("every attempt has a copy of its own, which is wiped when it has ended", async () => {
  await writeFile(file, "secret");
  const vault = vaultOf("password", true);
  const [first] = await vault.secrets();
  const [second] = await vault.secrets();
  if (first === undefined || second === undefined) throw new Error("there is no secret");

  await vault.use(
    first,
    () => {},
    async () => {},
  );

  expect(first.bytes.every((byte) => byte === 0)).toBe(true);
  expect(second.bytes.toString()).toBe("secret");
});

describe("the file of a used secret", () => {
  const SOMEBODY = 4321;
  const removed = (path: string, used = now + HOUR): Promise<void> =>
    removeUsed({ file: path, deleteAfterUse: true }, used, now + MINUTE);

  /** `NAME/inner/secret` in the test's folder. */
  async function secretIn(name: string): Promise<string> {
    const place = join(folder.path, name, "inner");
    await mkdir(place, { recursive: true });
    await writeFile(join(place, "secret"), "secret");
    return join(place, "secret");
  }

  test("is not removed where another user's link leads on the way to it", async () => {
    const target = await secretIn("another");
    await mkdir(join(folder.path, "theirs"));
    await symlink("../another", join(folder.path, "theirs/way"));
    await chown(join(folder.path, "theirs"), SOMEBODY, SOMEBODY);

    await expect(removed(join(folder.path, "theirs/way/inner/secret"))).rejects.toMatchObject({
      code: "DEPLOY_FAILED",
      message: `Cannot use "${folder.path}/theirs": it belongs to user ${SOMEBODY}, not to root`,
    });
    expect(await exists(target)).toBe(true);
  });

  test.each(["0777", "0770"])("is not removed below a folder of mode %s, whose users could swap it", async (mode) => {
    const path = await secretIn("open");
    await chmod(join(folder.path, "open"), Number.parseInt(mode, 8));

    await expect(removed(path)).rejects.toMatchObject({ code: "DEPLOY_FAILED" });
    expect(await exists(path)).toBe(true);
  });

  test("is not removed through a link that its folder's owner put in the folder's place", async () => {
    const target = await secretIn("another");
    await symlink(join(folder.path, "another/inner"), join(folder.path, "inner"));
    await chmod(folder.path, 0o1777);
    await lchown(join(folder.path, "inner"), SOMEBODY, SOMEBODY);

    await expect(removed(join(folder.path, "inner/secret"))).rejects.toMatchObject({ code: "DEPLOY_FAILED" });
    expect(await exists(target)).toBe(true);
  });

  test("is removed where root's own link leads to it, as /var/run does", async () => {
    const target = await secretIn("run");
    await symlink("run", join(folder.path, "link"));

    await removed(join(folder.path, "link/inner/secret"));

    expect(await exists(target)).toBe(false);
  });

  test("is removed from another user's folder, as that user could", async () => {
    const path = await secretIn("home");
    await chown(join(folder.path, "home/inner"), SOMEBODY, SOMEBODY);

    await removed(path);

    expect(await exists(path)).toBe(false);
  });

  test("stays where it was put there after the asking, though the one who asks names a later time", async () => {
    await writeFile(file, "new");
    const { ctimeMs } = await stat(file);

    await removeUsed({ file, deleteAfterUse: true }, ctimeMs + HOUR, ctimeMs - 1);

    expect(await exists(file)).toBe(true);
  });

  test("is told of and left alone after an attempt where another user may have moved it", async () => {
    file = await secretIn("theirs");
    const vault = vaultOf("password", true);
    const [secret] = await vault.secrets();
    if (secret === undefined) throw new Error("there is no secret");
    await chown(join(folder.path, "theirs"), SOMEBODY, SOMEBODY);
    await rename(join(folder.path, "theirs"), join(folder.path, "moved"));
    await symlink("moved", join(folder.path, "theirs"));
    await lchown(join(folder.path, "theirs"), SOMEBODY, SOMEBODY);
    const complaints: string[] = [];

    await vault.use(
      secret,
      ({ message }) => complaints.push(message),
      async () => {},
    );

    expect(complaints).toEqual([
      `Cannot use "${folder.path}/theirs": it is a link that another user made or could move`,
    ]);
    expect(await exists(join(folder.path, "moved/inner/secret"))).toBe(true);
  });

  test("that could not be deleted is, when that is tried again and possible", async () => {
    file = await secretIn("open");
    const open = join(folder.path, "open");
    await chmod(open, 0o777);
    const vault = vaultOf("password", true);
    await useFirst(vault);
    vault.clear();
    await expect.poll(() => vault.isHolding(), { timeout: 10_000 }).toBe(true); // tried in vain once more
    const isThere = await exists(file);

    await chmod(open, 0o755);
    vault.clear();

    expect(isThere).toBe(true);
    await expect.poll(() => exists(file), { timeout: 10_000 }).toBe(false);
    expect(vault.isHolding()).toBe(false);
  });

  test("that could not be deleted is, also where the issuer was configured anew since", async () => {
    const open = join(folder.path, "anew");
    file = await secretIn("anew");
    await chmod(open, 0o777);
    const kept = keepSecrets(systemClock);
    await useFirst(vaultOf("password", true, undefined, kept));
    const vault = vaultOf("password", true, undefined, kept);
    await chmod(open, 0o755);

    vault.clear();

    await expect.poll(() => exists(file), { timeout: 10_000 }).toBe(false);
    expect(vault.isHolding()).toBe(false);
  });
});
