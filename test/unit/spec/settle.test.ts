import { chown, mkdir, rename, symlink } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { formatProblem } from "../../../src/spec/problem.ts";
import { specText, worldIn } from "./world.ts";

test("of two specs that want one file, neither is in force where nobody has deployed it, and each names the other", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/web"));
  await world.write("two", specText("two.internal", "/srv/web"));
  await world.write("three", specText("three.internal", "/srv/three"));

  const { specs } = await world.read();

  expect(specs.get("one")?.desired).toBeUndefined();
  expect(specs.get("two")?.desired).toBeUndefined();
  expect(specs.get("three")?.desired).toBeDefined();
  expect(specs.get("one")?.problems.map(formatProblem)).toEqual([
    `${world.file("one")}:3:32: /srv/web.crt is wanted by spec two too`,
  ]);
  expect(specs.get("two")?.problems[0]?.key).toBe("outputs[0].path");
});

test("the spec that has deployed a file stays in force, and the newcomer is refused", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/web"));
  await world.write("two", specText("two.internal", "/srv/web"));

  const { specs } = await world.read(
    new Map([
      ["/srv/web.key", "two"],
      ["/srv/web.crt", "two"],
    ]),
  );

  expect(specs.get("two")).toMatchObject({ problems: [], usingLastGood: false });
  expect(specs.get("one")?.desired).toBeUndefined();
  expect(specs.get("one")?.problems.map(({ message }) => message)).toEqual(["/srv/web.crt is deployed by spec two"]);
});

test("an edit that takes another's file leaves the last good version in force, and stays refused at later readings", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/one"));
  await world.write("two", specText("two.internal", "/srv/two"));
  await world.read();

  await world.write("two", specText("two.internal", "/srv/one"));
  const owners = new Map([
    ["/srv/one.crt", "one"],
    ["/srv/one.key", "one"],
  ]);
  await world.read(owners);
  await world.restart();
  const { specs } = await world.read(owners);

  expect(specs.get("one")).toMatchObject({ problems: [], usingLastGood: false });
  expect(specs.get("two")?.usingLastGood).toBe(true);
  expect(specs.get("two")?.desired?.outputs[0]?.path).toBe("/srv/two.crt");
  expect(specs.get("two")?.problems).toHaveLength(1);
});

test("a file that a broken edit's last good version holds is not free", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/one"));
  await world.read();

  await world.write("one", "subject: [");
  await world.write("two", specText("two.internal", "/srv/one"));
  const { specs } = await world.read(
    new Map([
      ["/srv/one.crt", "one"],
      ["/srv/one.key", "one"],
    ]),
  );

  expect(specs.get("one")?.usingLastGood).toBe(true);
  expect(specs.get("two")?.desired).toBeUndefined();
});

test("a conflict ends when one of the two is changed", async () => {
  await using world = await worldIn();
  await world.write("one", specText("one.internal", "/srv/web"));
  await world.write("two", specText("two.internal", "/srv/web"));
  await world.read();

  await world.write("two", specText("two.internal", "/srv/two"));
  const { specs } = await world.read();

  expect([...specs.values()].every(({ desired, problems }) => desired !== undefined && problems.length === 0)).toBe(
    true,
  );
});

test("two spellings of one folder are one file, whether the folder is there or not", async () => {
  await using world = await worldIn();
  await mkdir(join(world.base, "real"));
  await symlink("real", join(world.base, "alias"));
  await world.write("one", specText("one.internal", join(world.base, "real/web")));
  await world.write("two", specText("two.internal", join(world.base, "alias/web")));
  await world.write("three", specText("three.internal", join(world.base, "real/missing/web")));
  await world.write("four", specText("four.internal", join(world.base, "alias/missing/web")));

  const { specs } = await world.read();

  expect([...specs.values()].map(({ desired }) => desired)).toEqual([undefined, undefined, undefined, undefined]);
});

test("a service that has its folder lead to another service's takes nobody's spec out of force", async () => {
  await using world = await worldIn();
  for (const name of ["one", "two"]) {
    const folder = join(world.base, name);
    await mkdir(join(folder, "tls"), { recursive: true });
    await chown(folder, 65_534, 65_534);
    await world.write(name, specText(`${name}.internal`, join(folder, "tls", "web")));
  }
  const owners = new Map(["one", "two"].map((name) => [join(world.base, name, "tls", "web.crt"), name]));
  await rename(join(world.base, "one", "tls"), join(world.base, "one", "away"));
  await symlink(join(world.base, "two", "tls"), join(world.base, "one", "tls"));

  const { specs } = await world.read(owners);

  expect(specs.get("one")).toMatchObject({ problems: [], usingLastGood: false });
  expect(specs.get("two")).toMatchObject({ problems: [], usingLastGood: false });
});

test("a spec that leads two outputs to one file is refused", async () => {
  await using world = await worldIn();
  await symlink(world.base, join(world.base, "alias"));
  const text = `subject: web.internal
outputs:
  - { format: fullchain, path: ${world.base}/web.pem }
  - { format: key, path: ${world.base}/alias/web.pem }
`;
  await world.write("web", text);

  const { specs } = await world.read();

  expect(specs.get("web")?.desired).toBeUndefined();
  expect(specs.get("web")?.problems.map(({ message }) => message)).toEqual([
    `${world.base}/alias/web.pem leads to the file of another output of this spec`,
  ]);
});
