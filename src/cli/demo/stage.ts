import { chmod, mkdir, mkdtempDisposable, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { AgentError } from "../../base/errors.ts";
import { fileError } from "../../base/file-error.ts";
import { layoutOf } from "../../store/layout.ts";
import type { Places } from "../surroundings.ts";
import type { PairFiles } from "./pair.ts";

/** The folder in which everything of the demo lies, and goes with it. */
export interface Stage extends AsyncDisposable {
  readonly folder: string;
  readonly places: Places;
  /** Where the agent's socket is. */
  readonly control: string;
  /** Of the CA's child alone. */
  readonly ca: string;
  readonly pair: PairFiles;
  /** The provisioner's password. */
  readonly password: string;
}

/** The spec's name, and the subject of its certificate. */
export const SPEC = "web";
export const SUBJECT = "web.demo.internal";
/** Its name at the CA. */
export const PROVISIONER = "demo";

/** More than all that is written in a demo. */
const ROOM = 2 ** 20;

/** Throws `DEPLOY_FAILED` where there is no room for it. */
export async function buildStage(): Promise<Stage> {
  const parent = await realpath(tmpdir()).catch(noStage("use", tmpdir()));
  const temporary = await mkdtempDisposable(join(parent, "certagent-demo-")).catch(noStage("make a folder in", parent));
  const folder = temporary.path;
  const at = (...names: string[]): string => join(folder, ...names);
  try {
    for (const name of ["etc", "etc/specs", "ca", "tls"]) await mkdir(at(name), { mode: 0o700 });
    await writeFile(at("room"), Buffer.alloc(ROOM));
    await rm(at("room"));
  } catch (error) {
    await temporary.remove();
    noStage("write to", folder)(error);
  }
  const places = {
    config: at("etc", "certagent.yaml"),
    specs: at("etc", "specs"),
    state: at("state"),
    runtime: at("run"),
  };
  return {
    folder,
    places,
    control: layoutOf(places.state, places.runtime).control,
    ca: at("ca"),
    pair: { certificate: at("tls", "fullchain.pem"), key: at("tls", "key.pem") },
    password: at("etc", "provisioner-password"),
    [Symbol.asyncDispose]: temporary[Symbol.asyncDispose],
  };
}

export interface Wiring {
  readonly ca: { readonly url: string; readonly root: string; readonly password: string };
  readonly server: { readonly port: number; readonly reload: readonly string[] };
  /** As a spec writes it: `14s`. */
  readonly lifetime: string;
}

/** Writes what an operator would: host configuration, root, the provisioner's password, and one spec. */
export async function configure(stage: Stage, { ca, server, lifetime }: Wiring): Promise<void> {
  const { places, pair, password } = stage;
  const root = join(places.config, "..", "root_ca.crt");
  await write(root, ca.root);
  await write(password, `${ca.password}\n`, 0o600);
  // JSON strings are YAML strings too.
  await write(
    places.config,
    `issuers:
  internal:
    type: step-ca
    url: ${ca.url}
    root: { file: ${JSON.stringify(root)} }
    provisioner:
      type: jwk
      name: ${PROVISIONER}
      password: { file: ${JSON.stringify(password)}, delete_after_use: true }
default_issuer: internal
`,
  );
  await write(
    join(places.specs, `${SPEC}.yaml`),
    `subject: ${SUBJECT}
lifetime: ${lifetime}
key: { rotate: true }      # a new key each time: the pair could be mismatched now
layout: link               # and is at no instant, since one rename switches both files
outputs:
  - { format: fullchain, path: ${JSON.stringify(pair.certificate)}, mode: "0644" }
  - { format: key, path: ${JSON.stringify(pair.key)}, mode: "0600" }
services:
  - type: command
    reload: ${JSON.stringify(server.reload)}
    timeout: 3s
    probe: { connect: "127.0.0.1:${server.port}", server_name: ${SUBJECT} }
`,
  );
}

/** With exactly this mode, whatever the umask is: certagent believes no file that others may write. */
async function write(path: string, text: string, mode = 0o644): Promise<void> {
  await writeFile(path, text, { mode });
  await chmod(path, mode);
}

/** For `.catch`: what came in the way, its remedy, and the way around it. */
function noStage(action: string, path: string): (error: unknown) => never {
  return (thrown) => {
    const error = fileError(action, path, thrown);
    if (!(error instanceof AgentError)) throw error;
    const hint = [error.hint, "or name another folder for temporary files in TMPDIR"].filter(Boolean).join("\n");
    throw new AgentError(error.code, error.message, { hint, cause: thrown });
  };
}
