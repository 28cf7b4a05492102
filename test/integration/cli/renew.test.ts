import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { certagent, type Home, makeHome, startAgent } from "../../servers/program.ts";

/** Has that CA issue for it; answers the text of its spec `web`. */
async function specAt(home: Home, ca: DevCa, services: string): Promise<string> {
  const at = (name: string): string => join(home.folder, name);
  await writeFile(at("root.crt"), ca.root.pem);
  await writeFile(at("jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: at("jwk") } };
  await home.configure({
    issuers: { ca: { type: "step-ca", url: ca.url, root: { file: at("root.crt") }, provisioner } },
    default_issuer: "ca",
  });
  const spec = `subject: web.internal\noutputs:\n  - { format: combined, path: ${at("web.pem")} }\n${services}`;
  await home.write("web", spec);
  return spec;
}

test.each([
  ["current", ""],
  ["unproven", 'services:\n  - { type: none, probe: { connect: "127.0.0.1:1" } }\n'],
])(
  "a renewal of the version in force, %s, is done, and says so, while an edit of the spec is broken",
  async (state, services) => {
    await using ca = await startDevCa();
    await using home = await makeHome();
    const spec = await specAt(home, ca, services);
    await using agent = await startAgent(home);
    await agent.until(`it is ${state}`, (all) => all.get("web")?.state === state && all.get("web")?.leaf !== null);
    await home.write("web", `${spec}bogus: 1\n`);
    await agent.until("the edit is refused", (all) => all.get("web")?.failure?.code === "SPEC_INVALID");

    const { code, stdout, stderr } = await certagent(home, "renew", "web");

    expect(stdout).toMatch(new RegExp(`^web: renewed, ${state}: .*unknown key "bogus"\n  hint: known here: `));
    expect([code, stderr]).toEqual([0, ""]);
    expect((await agent.certificate("web")).leaf?.generation).toBe(2);
  },
);

test("a renewal that its service has not taken is told as that, and ends with 1", async () => {
  await using ca = await startDevCa();
  await using home = await makeHome();
  const [, port] = new URL(ca.url).host.split(":");
  await specAt(home, ca, `services:\n  - { type: none, probe: { connect: "127.0.0.1:${port}" }, timeout: 1s }\n`);
  await using agent = await startAgent(home);
  await agent.until("it is stale", (all) => all.get("web")?.failure?.code === "SERVICE_STALE");

  const { code, stdout } = await certagent(home, "renew", "web");

  expect(stdout).toMatch(/^web: renewed, unproven: .*another one is served there/);
  expect(code).toBe(1);
  expect((await agent.certificate("web")).leaf?.generation).toBe(2);
});

test("of a spec that was never understood it is told what to write instead", async () => {
  await using ca = await startDevCa();
  await using home = await makeHome();
  await home.write("web", (await specAt(home, ca, "")).replace("web.pem }", "web.pem, mode: 0640 }"));
  await using agent = await startAgent(home);
  await agent.until("it is refused", (all) => all.get("web")?.state === "invalid");

  const { code, stdout } = await certagent(home, "renew", "web");

  expect(stdout).toMatch(/^web: not renewed, invalid: .*not the number 640\n {2}hint: write mode: "0640"/);
  expect(code).toBe(1);
});
