import { chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { DevCa } from "../../../src/devca/devca.ts";
import { type Home, makeHome } from "../../servers/program.ts";

/** A home with a CA and its key, which `user` may read, and no spec yet. */
export async function homeAt(authority: DevCa, user = 0): Promise<Home> {
  const home = await makeHome();
  await writeFile(join(home.folder, "root"), authority.root.pem);
  await writeFile(join(home.folder, "jwk"), authority.provisioner.jwk, { mode: 0o600 });
  await chown(join(home.folder, "jwk"), user, user);
  const provisioner = { type: "jwk", name: authority.provisioner.name, key: { file: join(home.folder, "jwk") } };
  const internal = { type: "step-ca", url: authority.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  return home;
}
