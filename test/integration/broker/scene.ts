/** A host on which the agent is a user who may do nothing: a CA, one spec, and a service whose reload can be made slow. */
import { chmod, chown, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DAY } from "../../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { type Home, makeHome } from "../../servers/program.ts";
import { WAYS } from "../../servers/ways.ts";

export interface Scene extends AsyncDisposable {
  readonly home: Home;
  readonly ca: DevCa;
  /** Where `web`'s outputs are. */
  readonly files: { readonly certificate: string; readonly key: string };
  /** There as soon as a reload has begun. */
  readonly reloading: string;
  /** While it is there, a reload does not end. */
  readonly hold: string;
}

export async function makeScene(): Promise<Scene> {
  const home = await makeHome();
  await chmod(home.folder, 0o755);
  const ca = await startDevCa({ policy: { lifetime: DAY, backdate: 0 } });
  const at = (...names: readonly string[]): string => join(home.folder, ...names);
  for (const folder of ["tls", "secret", "bin"]) await mkdir(at(folder));
  await writeFile(at("root.crt"), ca.root.pem);
  await givePassword({ home, ca });
  const [reloading, hold] = [at("reloading"), at("hold")];
  const script = `#!/bin/sh\ntouch ${reloading}\nwhile [ -e ${hold} ]; do sleep 0.1; done\n`;
  await writeFile(at("bin", "reload"), script, { mode: 0o755 });
  const password = { file: at("secret", "password"), delete_after_use: true };
  const provisioner = { type: "jwk", name: ca.provisioner.name, password };
  const internal = { type: "step-ca", url: ca.url, root: { file: at("root.crt") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  const files = { certificate: at("tls", "web.crt"), key: at("tls", "web.key") };
  await home.write("web", specOf("web", home, at("bin", "reload")));
  return {
    home,
    ca,
    files,
    reloading,
    hold,
    [Symbol.asyncDispose]: async () => {
      await ca.stop();
      await home[Symbol.asyncDispose]();
    },
  };
}

/** Puts the provisioner's password there, for the agent to use once. */
export async function givePassword({ home, ca }: Pick<Scene, "home" | "ca">): Promise<void> {
  const path = join(home.folder, "secret", "password");
  await writeFile(`${path}.new`, ca.provisioner.password, { mode: 0o600 });
  await chown(`${path}.new`, WAYS.apart.user, WAYS.apart.user);
  await rename(`${path}.new`, path);
}

/** A spec with outputs in the folder for that, and a service of this command. */
export function specOf(name: string, { folder }: Home, reload: string): string {
  const path = (kind: string): string => join(folder, "tls", `${name}.${kind}`);
  return [
    `subject: ${name}.internal`,
    `outputs: [{ format: fullchain, path: ${path("crt")} }, { format: key, path: ${path("key")} }]`,
    `services: [{ type: command, reload: [${reload}] }]`,
    "",
  ].join("\n");
}
