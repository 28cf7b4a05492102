/** Specs that are new together, and share a service that takes none of their files before all are there. */
import { chmod, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { startDevCa } from "../../../src/devca/devca.ts";
import { certagent, makeHome } from "../../servers/program.ts";

const NAMES = Array.from({ length: 6 }, (_, index) => `web${index}`);

/** A CA that takes its time, so that four certificates are there before the other two are asked for. */
async function host() {
  const stack = new AsyncDisposableStack();
  const ca = stack.use(await startDevCa());
  ca.faults = { slow: 300 };
  const home = stack.use(await makeHome());
  const at = (...names: readonly string[]): string => join(home.folder, ...names);
  await mkdir(at("tls"));
  await writeFile(at("root.crt"), ca.root.pem);
  await writeFile(at("key.jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: at("key.jwk") } };
  const devca = { type: "step-ca", url: ca.url, root: { file: at("root.crt") }, provisioner };
  await home.configure({ issuers: { devca }, default_issuer: "devca" });
  const program = async (name: string, lines: string): Promise<string> => {
    await writeFile(at(name), `#!/bin/sh\n${lines}\n`);
    await chmod(at(name), 0o755);
    return at(name);
  };
  const preflight = [
    await program("check", `ls ${NAMES.map((name) => at("tls", `${name}.crt`)).join(" ")} >/dev/null`),
  ];
  const reload = [await program("reload", `echo reload >>${at("reloads")}`)];
  for (const name of NAMES) {
    const outputs = [
      { format: "fullchain", path: at("tls", `${name}.crt`) },
      { format: "key", path: at("tls", `${name}.key`) },
    ];
    const services = [{ type: "command", preflight, reload }];
    await home.write(name, JSON.stringify({ subject: `${name}.internal`, outputs, services }));
  }
  return { home, reloads: () => readFile(at("reloads"), "utf8"), [Symbol.asyncDispose]: () => stack.disposeAsync() };
}

test("once brings them all up to date, though their service refuses the first", async () => {
  await using world = await host();

  const { code, stderr } = await certagent(world.home, "once");

  expect(stderr).toContain("cannot deploy");
  expect(code).toBe(0);
  expect(await world.reloads()).toContain("reload");
});
