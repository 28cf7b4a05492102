/** A host with a real step-ca and a real nginx, and specs for as many names as are asked for. */
import { chown, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Milliseconds, pause, systemClock } from "../../src/base/time.ts";
import { type PairFiles, putPair } from "../servers/daemon.ts";
import { makePki } from "../servers/pki.ts";
import { type Home, makeHome } from "../servers/program.ts";
import { type StepCa, startStepCa } from "../servers/step-ca.ts";
import { WAYS } from "../servers/ways.ts";
import { runToEnd, startWebServer, type WebServer } from "./web-server.ts";

/** `served`: by nginx, and proven there. `files`: no service, as a client that only writes files. */
export type Kind = "served" | "files";

export interface BenchHost extends AsyncDisposable {
  readonly ca: StepCa;
  readonly web: WebServer;
  /** Folders of an agent of its own, with a spec for each of these names. */
  home(names: readonly string[], kind: Kind): Promise<Home>;
  /** The same for an agent that is another user; its specs are of kind `files`. */
  homeApart(names: readonly string[]): Promise<Home>;
  /** Adds a spec to a home. */
  drop(home: Home, name: string, kind: Kind): Promise<void>;
  /** How long nginx takes from its reload command until it serves another pair for a name that no agent manages. */
  reloadTime(name: string): Promise<Milliseconds>;
}

/** Starts the servers; nginx has a stranger's pair for each of `names` until an agent replaces it. */
export async function startHost(names: readonly string[]): Promise<BenchHost> {
  const stack = new AsyncDisposableStack();
  const ca = stack.use(await startStepCa());
  const passwordFile = join(ca.folder, "password");
  await writeFile(passwordFile, ca.provisioner.password, { mode: 0o600 });
  const strangers = await makePki("Stranger");
  const web = stack.use(await startWebServer(names, await strangers.issue({ names: ["stranger.internal"] })));
  const drop: BenchHost["drop"] = (home, name, kind) =>
    home.write(
      name,
      JSON.stringify(specOf(name, kind === "served" ? web.files(name) : filesIn(home, name), web, kind)),
    );
  const fill = async (home: Home, chosen: readonly string[], kind: Kind): Promise<void> => {
    await mkdir(join(home.folder, "out"));
    for (const name of chosen) await drop(home, name, kind);
  };
  return {
    ca,
    web,
    drop,
    home: async (chosen, kind) => {
      const home = stack.use(await makeHome(configuration(ca, passwordFile)));
      await fill(home, chosen, kind);
      return home;
    },
    homeApart: async (chosen) => {
      const home = stack.use(await makeHome());
      const [rootFile, password] = [join(home.folder, "root.crt"), join(home.folder, "password")];
      await copyFile(ca.rootFile, rootFile);
      await copyFile(passwordFile, password);
      await chown(password, WAYS.apart.user, WAYS.apart.user);
      await home.configure(configuration({ ...ca, rootFile }, password));
      await fill(home, chosen, "files");
      return home;
    },
    reloadTime: async (name) => {
      const before = await web.served(name);
      await putPair(web.files(name), await strangers.issue({ names: [name] }));
      const began = systemClock.monotonic();
      await runToEnd(web.reload);
      while ((await web.served(name)) === before) await pause(2);
      return systemClock.monotonic() - began;
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

/** Where a spec of kind `files` has its pair. */
export function filesIn({ folder }: Home, name: string): PairFiles {
  return { certificate: join(folder, "out", `${name}.crt`), key: join(folder, "out", `${name}.key`) };
}

function configuration(
  { url, rootFile, provisioner: { name } }: Pick<StepCa, "url" | "rootFile" | "provisioner">,
  passwordFile: string,
): unknown {
  const provisioner = { type: "jwk", name, password: { file: passwordFile } };
  return {
    issuers: { internal: { type: "step-ca", url, root: { file: rootFile }, provisioner } },
    default_issuer: "internal",
  };
}

function specOf(name: string, { certificate, key }: PairFiles, web: WebServer, kind: Kind): unknown {
  const probe = { connect: `127.0.0.1:${web.port}`, server_name: name };
  const nginx = { type: "nginx", preflight: web.check, reload: web.reload, probe };
  return {
    subject: name,
    outputs: [
      { format: "fullchain", path: certificate, mode: "0644" },
      { format: "key", path: key, mode: "0600" },
    ],
    ...(kind === "served" ? { services: [nginx] } : {}),
  };
}
