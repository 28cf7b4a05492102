import { chmod, mkdir, readdir, readFile, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { type Home, makeHome, startAgent } from "../../servers/program.ts";

/** A spec with `layout: link`, and a CA that certifies it. */
async function prepare(home: Home, ca: DevCa): Promise<void> {
  const at = (...names: readonly string[]): string => join(home.folder, ...names);
  await chmod(home.folder, 0o755);
  await writeFile(at("root.crt"), ca.root.pem);
  await writeFile(at("key.jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: at("key.jwk") } };
  const devca = { type: "step-ca", url: ca.url, root: { file: at("root.crt") }, provisioner };
  await home.configure({ issuers: { devca }, default_issuer: "devca" });
  await home.write(
    "web",
    JSON.stringify({
      subject: "web.internal",
      layout: "link",
      outputs: [
        { format: "fullchain", path: at("tls", "web.crt"), mode: "0644" },
        { format: "key", path: at("tls", "web.key"), mode: "0640" },
      ],
    }),
  );
}

test("a state folder may be a link to another disk", async () => {
  await using ca = await startDevCa();
  await using home = await makeHome();
  await prepare(home, ca);
  await mkdir(join(home.folder, "disk"));
  await symlink(join(home.folder, "disk"), home.state);

  await using agent = await startAgent(home);
  await agent.until("web is current", (all) => all.get("web")?.state === "current");

  expect(await readFile(join(home.folder, "tls", "web.crt"), "utf8")).toContain("BEGIN CERTIFICATE");
  expect((await readdir(join(home.folder, "disk"))).toSorted()).toEqual(["agent", "apply", "live"]);
});

test("after the first start on a host, whatever the umask, services can go to what their links lead to", async () => {
  await using ca = await startDevCa();
  await using home = await makeHome();
  await prepare(home, ca);

  await using agent = await startAgent(home, { through: ["/bin/sh", "-c", 'umask 077; exec "$@"', "sh"] });
  await agent.until("web is current", (all) => all.get("web")?.state === "current");

  const modes = async (...paths: readonly string[]) =>
    await Promise.all(paths.map(async (path) => ((await stat(path)).mode & 0o7777).toString(8)));
  const state = (...names: readonly string[]): string => join(home.state, ...names);
  expect(
    await modes(home.state, state("live"), state("live", "web"), state("live", "web", "1"), join(home.folder, "tls")),
  ).toEqual(["755", "711", "711", "711", "755"]);
  expect(await modes(state("agent"), state("apply"))).toEqual(["700", "700"]);
});
