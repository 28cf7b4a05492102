/** The host of the kill campaign: a deployed pair whose renewal, with a new key, is due at the next `certagent once`. */
import { execFile } from "node:child_process";
import { cp, mkdir, readdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { nodeFlags } from "../../scripts/pinned-node.mjs";
import { HOUR, MINUTE } from "../../src/base/time.ts";
import { type DevCa, startDevCa } from "../../src/devca/devca.ts";
import { loadCertificates } from "../../src/x509/certificate.ts";
import { matches, parseKey } from "../../src/x509/key.ts";
import { type Home, makeHome } from "../servers/program.ts";

const execute = promisify(execFile);

export interface Ending {
  readonly code: number | null;
  readonly signal: string | null;
  readonly output: string;
}

/** What a consumer finds that opens key and certificate by their paths. */
export interface Pair {
  readonly kind: "whole" | "mixed" | "torn";
  readonly leaf: string;
  readonly keyId: string;
}

export interface Scene extends AsyncDisposable {
  readonly ca: DevCa;
  readonly home: Home;
  /** Puts everything back to where the renewal is due. */
  reset(): Promise<void>;
  /** Runs `certagent once`, by this bundle, through a tracer. */
  once(bundle: string, through?: readonly string[]): Promise<Ending>;
  pair(): Promise<Pair>;
  /** Mode and owner of both files, which no kill may change. */
  access(): Promise<string>;
  /** How many certificates the CA has issued. */
  issued(): number;
  /** Whether a generation after the first is stored. */
  isStored(): Promise<boolean>;
  /** Hides the generations, so that a start can do nothing but finish what was cut off. */
  hideGenerations(): Promise<void>;
  showGenerations(): Promise<void>;
  leftovers(): Promise<readonly string[]>;
}

/** Deploys a first pair of a CA whose clock is ten hours behind, so that the spec's edit makes its renewal due. */
export async function makeScene(layout: "files" | "link", bundle: string): Promise<Scene> {
  const ca = await startDevCa({ policy: { clockOffset: -10 * HOUR } });
  const home = await makeHome();
  const at = (...names: readonly string[]): string => join(home.folder, ...names);
  await mkdir(at("tls"), { mode: 0o755 });
  await writeFile(at("root.crt"), ca.root.pem);
  await writeFile(at("key.jwk"), ca.provisioner.jwk, { mode: 0o600 });
  const provisioner = { type: "jwk", name: ca.provisioner.name, key: { file: at("key.jwk") } };
  const devca = { type: "step-ca", url: ca.url, root: { file: at("root.crt") }, provisioner };
  await home.configure({ issuers: { devca }, default_issuer: "devca" });
  const spec = (before: string): string =>
    JSON.stringify({
      subject: "web.internal",
      layout,
      key: { rotate: true },
      renew: { before },
      outputs: [
        { format: "fullchain", path: at("tls", "web.crt"), mode: "0644" },
        { format: "key", path: at("tls", "web.key"), mode: "0640" },
      ],
    });
  const generations = join(home.state, "agent", "generations");
  const kept = ["tls", "specs", "first-state"].map((name) => [at(name), at(`kept-${name}`)] as const);

  const scene: Scene = {
    ca,
    home,
    reset: async () => {
      for (const [live, copy] of kept) {
        await rm(live, { recursive: true, force: true });
        await cp(copy, live, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
      }
    },
    once: async (program, through = []) => {
      const [command = "", ...argv] = [
        ...through,
        process.execPath,
        ...nodeFlags("once"),
        program,
        "once",
        ...home.options,
      ];
      try {
        const env = { PATH: "/usr/bin:/bin", LANG: "C.UTF-8", UV_THREADPOOL_SIZE: "1" };
        const { stderr } = await execute(command, argv, { env, cwd: "/", timeout: 5 * MINUTE });
        return { code: 0, signal: null, output: stderr };
      } catch (error) {
        const { code, signal, stderr } = error as { code?: number; signal?: string; stderr?: string };
        return { code: code ?? null, signal: signal ?? null, output: stderr ?? String(error) };
      }
    },
    pair: async () => await pairOf(at("tls", "web.key"), at("tls", "web.crt")),
    access: async () => {
      const texts = [at("tls", "web.key"), at("tls", "web.crt")].map(async (path) => {
        const { mode, uid, gid } = await stat(path);
        return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
      });
      return (await Promise.all(texts)).join(", ");
    },
    issued: () => ca.requests.filter(({ path }) => /\/(sign|renew|rekey)$/.test(path)).length,
    isStored: async () => {
      const names: readonly string[] = await readdir(join(generations, "web")).catch(() => []);
      return names.includes("2.json");
    },
    hideGenerations: async () => await rename(generations, `${generations}.hidden`),
    showGenerations: async () => {
      await rm(generations, { recursive: true, force: true });
      await rename(`${generations}.hidden`, generations);
    },
    leftovers: async () => {
      const names = await readdir(home.folder, { recursive: true });
      return names.filter((name) => !name.startsWith("kept-") && /(^|\/)\.certagent-|apply\/intents\/./.test(name));
    },
    [Symbol.asyncDispose]: async () => {
      await ca[Symbol.asyncDispose]();
      await home[Symbol.asyncDispose]();
    },
  };
  await home.write("web", spec("1h"));
  const first = await scene.once(bundle);
  if (first.code !== 0) throw new Error(`the first pair was not deployed:\n${first.output}`);
  ca.policy = { ...ca.policy, clockOffset: 0 };
  await home.write("web", spec("15h"));
  for (const [live, copy] of kept) {
    await cp(live, copy, { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  }
  return scene;
}

async function pairOf(keyPath: string, chainPath: string): Promise<Pair> {
  try {
    const key = parseKey(await readFile(keyPath, "utf8"));
    const [leaf] = loadCertificates(await readFile(chainPath, "utf8"));
    return { kind: matches(key, leaf) ? "whole" : "mixed", leaf: leaf.fingerprint, keyId: key.keyId };
  } catch {
    return { kind: "torn", leaf: "", keyId: "" };
  }
}
