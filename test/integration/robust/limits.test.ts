/** What the host does not give certagent: descriptors, file sizes, a program that it needs, memory without end. */
import { readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { certagent, type Home, type Outcome, startAgent, startCertagent } from "../../servers/program.ts";
import { homeAt } from "./home.ts";

async function homeWithSpec(ca: DevCa): Promise<Home> {
  const home = await homeAt(ca);
  const outputs = [{ format: "combined", path: join(home.folder, "web.pem"), mode: "0640", acl: ["u:1:r"] }];
  await home.write("web", JSON.stringify({ subject: "web.internal", outputs }));
  return home;
}

async function onceThrough(home: Home, through: readonly string[]): Promise<Outcome> {
  return await (await startCertagent(["once", ...home.options], { through })).ended;
}

const issued = ({ requests }: DevCa): number => requests.filter(({ path }) => path === "/sign").length;

test("a limit on the size of files is told before a certificate is spent on it", async () => {
  await using ca = await startDevCa();
  await using home = await homeWithSpec(ca);

  const { code, stderr } = await onceThrough(home, ["prlimit", "--fsize=16384", "--"]);

  expect(code).toBe(1);
  expect(stderr).toContain("file too large for the limit of this process");
  expect(issued(ca)).toBe(0);
  expect((await certagent(home, "once")).code).toBe(0);
});

test.for([24, 26, 28, 30])(
  "a limit of %i descriptors is told as that, and costs one certificate at most",
  async (most) => {
    await using ca = await startDevCa();
    await using home = await homeWithSpec(ca);

    const { code, stderr } = await onceThrough(home, ["prlimit", `--nofile=${most}`, "--"]);

    expect(stderr).not.toContain("defect");
    if (code !== 0) expect(stderr).toMatch(/too many open files.* hint="raise LimitNOFILE=/);
    expect((await certagent(home, "once")).code).toBe(0);
    expect(issued(ca)).toBe(1);
    expect((await readdir(home.folder, { recursive: true })).filter((name) => /\.certagent-/.test(name))).toEqual([]);
  },
);

test("an ACL on a host without setfacl is told with the package to install, and costs one certificate", async () => {
  await using ca = await startDevCa();
  await using home = await homeWithSpec(ca);
  const without = 'mount --bind /dev/null "$(command -v setfacl)" && exec "$0" "$@"';

  const { code, stderr } = await onceThrough(home, ["unshare", "--mount", "/bin/sh", "-c", without]);

  expect(code).toBe(1);
  expect(stderr).toContain('setfacl is not installed" hint="apt install acl (dnf install acl)"');
  expect((await certagent(home, "once")).code).toBe(0);
  expect(issued(ca)).toBe(1);
});

test("a service is told of its files where neither the folder for temporary files nor /dev/shm can be written", async () => {
  await using ca = await startDevCa();
  await using home = await homeAt(ca);
  const outputs = [{ format: "combined", path: join(home.folder, "web.pem") }];
  const services = [{ type: "command", reload: ["/bin/echo", "told"] }];
  await home.write("web", JSON.stringify({ subject: "web.internal", outputs, services }));
  const without = 'mount -t tmpfs -o ro none /dev/shm && exec "$0" "$@"';

  const through = ["unshare", "--mount", "/bin/sh", "-c", without];
  const child = await startCertagent(["once", ...home.options], { through, env: { TMPDIR: "/nowhere" } });

  const { code, stderr } = await child.ended;
  expect(stderr).toContain("reloaded");
  expect(code).toBe(0);
});

test("two thousand certificates fit into the memory that is given", async () => {
  await using ca = await startDevCa();
  await using home = await homeAt(ca);
  await ca.stop();
  for (let n = 1; n <= 2000; n++) {
    const at = join(home.folder, "tls", `s${n}`);
    const outputs = [
      { format: "fullchain", path: `${at}.crt` },
      { format: "key", path: `${at}.key` },
    ];
    await writeFile(join(home.specs, `s${n}.yaml`), JSON.stringify({ subject: `s${n}.internal`, outputs }));
  }

  await using agent = await startAgent(home, { level: "info" });
  await expect.poll(() => agent.journal().some((line) => line.includes("cannot get a certificate"))).toBe(true);

  expect((await agent.status()).certificates).toHaveLength(2000);
  expect((await agent.stop()).code).toBe(0);
  expect((await certagent(home, "status")).code).toBe(3);
});
