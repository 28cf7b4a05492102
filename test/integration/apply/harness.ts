/** A host in a temporary folder: real files, real keys, real commands, and an applier over them. */
import { existsSync, lstatSync, readFileSync, readlinkSync } from "node:fs";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AnchorsOf } from "../../../src/apply/accept.ts";
import { createApplier, type RecoveringApplier } from "../../../src/apply/applier.ts";
import type { Files } from "../../../src/base/atomic-file.ts";
import type { Connect } from "../../../src/base/connect.ts";
import { AgentError } from "../../../src/base/errors.ts";
import type { Fields, Log } from "../../../src/base/log.ts";
import { type Run, run } from "../../../src/base/run.ts";
import { type Clock, systemClock } from "../../../src/base/time.ts";
import type { Asked } from "../../../src/core/applier.ts";
import type { Desired, Generation, Output, Service } from "../../../src/core/ports.ts";
import { formatNamed } from "../../../src/formats/index.ts";
import { openGenerations } from "../../../src/store/generations.ts";
import { type Layout, layoutOf } from "../../../src/store/layout.ts";
import { loadCertificates } from "../../../src/x509/certificate.ts";
import { matches, type PrivateKey, parseKey } from "../../../src/x509/key.ts";
import { type IssuedLeaf, makePki, type Pki } from "../../servers/pki.ts";

export const never = new AbortController().signal;
export const NAME = "web";
/** What the agent asks about it: nothing that the root side would go by. */
export const ASKED: Asked = { name: NAME, digest: "1", generation: null };

export interface TestHost extends AsyncDisposable {
  readonly folder: string;
  /** Where outputs go. */
  readonly tls: string;
  readonly layout: Layout;
  readonly pki: Pki;
  readonly log: string[];
  /** The spec in force; tests change it by assigning. */
  desired: Desired;
  /** What the configuration pins; tests change it by assigning. */
  anchors: AnchorsOf;
  open(
    files?: Files,
    system?: {
      clock?: Clock;
      connect?: Connect;
      ask?: Run;
      onRun?: () => void;
      onRead?: () => void;
      specs?: ReadonlyMap<string, Desired>;
      specIsCurrent?: (name: string) => Promise<boolean>;
    },
  ): Promise<RecoveringApplier>;
  /** Issues and stages the next generation. */
  issue(options?: { key?: PrivateKey; via?: string; notAfter?: number }): Promise<Generation>;
  path(file: string): string;
}

let shared: Promise<Pki> | undefined;

/** The root that the host's configuration pins. */
const PINNED = "root.pem";
const SHM = "/dev/shm";

/** Of hosts that are `fast`, for one issuance after the other: to make a leaf takes longer than to deploy it. */
const sharedLeaves: Promise<IssuedLeaf>[] = [];

/**
 * `fast`: in memory, where syncing costs nothing, and with the leaves that others of them have had, for tests that deploy
 * hundreds of times.
 */
export async function makeHost(change: Partial<Desired> = {}, { fast = false } = {}): Promise<TestHost> {
  shared ??= makePki();
  const folder = await mkdtemp(join(fast && existsSync(SHM) ? SHM : tmpdir(), "certagent-apply-"));
  await mkdir(join(folder, "tls"), { mode: 0o755 });
  await writeFile(join(folder, PINNED), (await shared).root.certificate.pem);
  return hostIn(folder, await shared, change, fast);
}

/** A host that another process made, to apply what is staged there. */
export async function reopenHost(folder: string, layout: Desired["layout"]): Promise<TestHost> {
  const roots = loadCertificates(await readFile(join(folder, PINNED)));
  return hostIn(folder, { roots } as unknown as Pki, { layout }, false);
}

function hostIn(folder: string, pki: Pki, change: Partial<Desired>, fast: boolean): TestHost {
  const tls = join(folder, "tls");
  const layout = layoutOf(join(folder, "state"), join(folder, "run"));
  const log: string[] = [];
  let issued = 0;
  const host: TestHost = {
    folder,
    tls,
    layout,
    pki,
    log,
    desired: desiredIn(tls, change),
    anchors: async () => pki.roots,
    open: async (
      files,
      { clock = systemClock, connect = nobodyListens, onRun, ask = counted(onRun), onRead, specs, specIsCurrent } = {},
    ) =>
      await createApplier({
        layout,
        system: { clock, run: counted(onRun), ask, connect },
        log: logInto(log),
        specs: async () => (onRead?.(), specs ?? new Map([[NAME, host.desired]])),
        specIsCurrent,
        anchors: async (issuer, candidates) => await host.anchors(issuer, candidates),
        removeUsed: async () => {},
        files,
      }),
    issue: async ({ key, via = "token", notAfter } = {}) => {
      const isPlain = fast && key === undefined && notAfter === undefined;
      const leaf = isPlain
        ? await (sharedLeaves[issued++] ??= pki.issue())
        : await pki.issue({ ...(key && { key }), ...(notAfter && { notAfter }) });
      const { request } = host.desired;
      const draft = { request, key: leaf.key, chain: leaf.chain, roots: pki.roots, issuedAt: systemClock.now(), via };
      return await openGenerations(layout.agent.generations(NAME)).stage(draft);
    },
    path: (file) => join(tls, file),
    [Symbol.asyncDispose]: async () => await rm(folder, { recursive: true, force: true }),
  };
  return host;
}

const counted =
  (onRun: (() => void) | undefined): Run =>
  (...args) => (onRun?.(), run(...args));

const nobodyListens: Connect = async (_to, name) => {
  throw new AgentError("SERVICE_DOWN", `Cannot connect to ${name}: connection refused`);
};

export function desiredIn(folder: string, change: Partial<Desired> = {}): Desired {
  return {
    name: NAME,
    file: "/etc/certagent.d/web.yaml",
    digest: "1",
    request: {
      issuer: "internal",
      subject: "web.internal",
      names: [{ type: "dns", value: "web.internal" }],
      usages: ["server", "client"],
      lifetime: null,
      key: null,
    },
    rotate: true,
    renewBefore: null,
    layout: "files",
    outputs: [output("fullchain", join(folder, "web.crt"), { mode: 0o644 }), output("key", join(folder, "web.key"))],
    services: [],
    hooks: { before: null, after: null, failed: null },
    ...change,
  };
}

export function output(format: string, path: string, change: Partial<Output> = {}): Output {
  const found = formatNamed(format);
  if (found === undefined) throw new Error(`no format ${format}`);
  return { format: found, path, owner: null, group: null, mode: 0o600, acl: [], ...change };
}

/** A service of shell commands; `live` tells whether it runs. */
export function shellService(
  change: Partial<Service> & { preflightBy?: string; reloadBy?: string; aliveBy?: string },
): Service {
  const { preflightBy, reloadBy, aliveBy, ...rest } = change;
  const sh = async (script: string): Promise<void> => {
    const { exitCode, output: words } = await run(["/bin/sh", "-c", script], { timeout: 10_000 });
    if (exitCode !== 0) throw new AgentError("RELOAD_FAILED", `Cannot run it: ${words.trim()}`);
  };
  return {
    type: "shell",
    key: "shell",
    steps: ["check", "reload"],
    probe: undefined,
    timeout: 1000,
    passive: false,
    window: null,
    preflight: async () => await sh(preflightBy ?? "true"),
    reload: async () => {
      await sh(reloadBy ?? "true");
      return undefined;
    },
    liveness: async () => {
      if (aliveBy === undefined) return "up";
      const { exitCode } = await run(["/bin/sh", "-c", aliveBy], { timeout: 10_000 });
      return exitCode === 0 ? "up" : "down";
    },
    defaultProbe: async () => undefined,
    ...rest,
  };
}

export type PairState = { readonly key: string; readonly leaf: string } | "missing" | "torn" | "mixed";

/** What a consumer finds that opens the two paths right now. */
export function pairAt(host: Pick<TestHost, "path">): PairState {
  const [key, chain] = [textAt(host.path("web.key")), textAt(host.path("web.crt"))];
  if (key === undefined && chain === undefined) return "missing";
  try {
    const parsed = parseKey(key ?? "");
    const [leaf] = loadCertificates(chain ?? "");
    return matches(parsed, leaf) ? { key: parsed.keyId, leaf: leaf.fingerprint } : "mixed";
  } catch {
    return "torn";
  }
}

/** Mode and owner of what a path leads to, and whether the path is a link. */
export function accessAt(path: string): { mode: number; uid: number; gid: number; link: string | null } {
  const link = lstatSync(path).isSymbolicLink() ? readlinkSync(path) : null;
  const { mode, uid, gid } = lstatSync(link ?? path);
  return { mode: mode & 0o7777, uid, gid, link };
}

function textAt(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

/** Every file that certagent would call unfinished, anywhere on the host. */
export async function leftovers(host: TestHost): Promise<readonly string[]> {
  const names = await readdir(host.folder, { recursive: true });
  return names.filter((name) => /(^|\/)\.certagent-/.test(name) || /intents\/.*\.json$/.test(name));
}

export async function text(path: string): Promise<string> {
  return await readFile(path, "utf8");
}

function logInto(lines: string[]): Log {
  const at =
    (level: string) =>
    (message: string, fields: Fields = {}): void =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`);
  return { debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}
