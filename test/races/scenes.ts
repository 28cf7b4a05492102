/** The places where another user may race the root side, each with what the root side does there in one round. */
import { execFileSync } from "node:child_process";
import * as fs from "node:fs";
import { join } from "node:path";
import { takeRequests } from "../../src/apply/requests/take.ts";
import { type Files, nodeFiles } from "../../src/base/atomic-file.ts";
import { AgentError } from "../../src/base/errors.ts";
import { openFolder } from "../../src/base/folder.ts";
import { MINUTE, SECOND, systemClock, withDeadline } from "../../src/base/time.ts";
import type { Generation } from "../../src/core/ports.ts";
import { fetchedRoots, openStaged } from "../../src/store/staged.ts";
import { makeHost, NAME, never, output, shellService, type TestHost } from "../integration/apply/harness.ts";
import { AGENT, generationText } from "../integration/boundary/hostile-agent.ts";
import { makeVictims, type Victims } from "./victims.ts";

/** A user with a service whose folder holds outputs: not the agent's. */
export const SERVICE = 33;

export interface Scene extends AsyncDisposable {
  /** What `attacker.ts` does, and as whom. */
  readonly attack: readonly string[];
  readonly user: number;
  /** One round of the root side. Answers what must not be, undefined where all is well; throws what it refuses. */
  round(number: number): Promise<string | undefined>;
  /** What is looked at now and then, as it takes longer. */
  look(): string | undefined;
}

export type ReadGeneration = (host: TestHost) => Promise<Generation | undefined>;
export type Take = (
  folder: string,
) => Promise<{ readonly taken: readonly { readonly token: string }[]; readonly junk: number }>;

const read: ReadGeneration = async ({ layout }) => {
  const staged = openStaged(layout, NAME);
  await fetchedRoots(layout);
  await staged.newest();
  return await staged.read(1);
};

/** The agent's user in the folder of its generations. The bait is one that fits in all, of a key that is not the agent's. */
export async function generationsScene(readOne: ReadGeneration = read): Promise<Scene> {
  const host = await hostWithOpenFolder();
  const { request } = host.desired;
  const draft = async () => ({
    ...(await host.pki.issue()),
    request,
    roots: host.pki.roots,
    via: "token",
    issuedAt: 0,
  });
  const [honest, secret] = [await draft(), await draft()];
  const folder = host.layout.agent.folder;
  fs.mkdirSync(host.layout.agent.generations(NAME), { recursive: true });
  fs.mkdirSync(host.layout.agent.roots);
  fs.writeFileSync(join(folder, "honest.json"), generationText(honest));
  execFileSync("chown", ["-R", `${AGENT}:${AGENT}`, folder]);
  const mark = secret.key.toPem().split("\n")[1] ?? "";
  const victims = makeVictims(host.folder, generationText(secret), ["web/1.json"], mark);
  const applier = await host.open();

  return {
    attack: ["generations", folder, victims.bait, victims.folder, makeFifo(host, AGENT)],
    user: AGENT,
    round: async (number) => {
      const found = number % 10 === 0 ? undefined : await readOne(host);
      if (found === undefined) await applier.apply(NAME, never);
      return found?.key.keyId === secret.key.keyId ? "the bait was read" : victims.changed();
    },
    look: () => leak(victims, [host.tls, folder]),
    [Symbol.asyncDispose]: () => end(host, victims),
  };
}

/** A service's user in the folder of its outputs, to which `files` deploys another pair in each round. */
export async function outputsScene(files: Files = nodeFiles): Promise<Scene> {
  const host = await hostWithOpenFolder();
  const mark = "what-only-root-may-know";
  const victims = makeVictims(host.folder, `${mark}\n`, ["secret", "web.pem", "web.key"], mark);
  const own = { owner: `${SERVICE}`, group: `${SERVICE}` };
  const outputs = [
    output("combined", host.path("web.pem"), { ...own, mode: 0o640, acl: [] }),
    output("key", host.path("sub/web.key"), own),
  ];
  const hidden = host.path("private");
  fs.mkdirSync(hidden, { mode: 0o700 });
  fs.writeFileSync(join(hidden, "notes"), "root's own\n", { mode: 0o600 });
  execFileSync("chown", [`${SERVICE}`, host.tls]);
  // Its owner may move it to where outputs go, and files are then staged in it; but it is not changed itself.
  for (const path of [hidden, join(hidden, "notes")]) victims.watch(path);
  const { request } = host.desired;
  const texts = await Promise.all(
    [1, 2].map(async () =>
      generationText({ ...(await host.pki.issue()), request, roots: host.pki.roots, via: "token", issuedAt: 0 }),
    ),
  );
  const folder = host.layout.agent.generations(NAME);
  fs.mkdirSync(folder, { recursive: true });
  let isRefused = false;
  const reload = async (): Promise<undefined> => {
    if (isRefused) throw new AgentError("RELOAD_FAILED", "Cannot reload: as it is told");
  };
  host.desired = { ...host.desired, outputs, services: [shellService({ preflight: async () => {}, reload })] };
  // Reloads wait for others to join them: here each call of the clock is a second later.
  let ticks = 0;
  const clock = { ...systemClock, monotonic: () => (ticks += SECOND) };
  const applier = await host.open(files, { clock });

  return {
    attack: ["outputs", host.tls, victims.bait, victims.folder, makeFifo(host, SERVICE)],
    user: SERVICE,
    round: async (number) => {
      fs.writeFileSync(join(folder, `${number}.json`), texts[number % texts.length] ?? "");
      fs.rmSync(join(folder, `${number - 3}.json`), { force: true });
      isRefused = number % 3 === 0; // then what stood there is put back
      const { failure } = await applier.apply(NAME, never);
      const changed = victims.changed();
      if (changed === undefined && failure !== null) throw new AgentError("DEPLOY_FAILED", failure.message);
      return changed;
    },
    look: () => leak(victims, [host.tls, host.layout.live]),
    [Symbol.asyncDispose]: () => end(host, victims),
  };
}

const take: Take = async (folder) => {
  await using held = await openFolder(folder);
  using late = withDeadline(MINUTE);
  return await takeRequests(held, systemClock.now(), late);
};

/** The agent's user in the folder of its requests. The bait holds what would be a token. */
export async function requestsScene(takeAll: Take = take): Promise<Scene> {
  const host = await hostWithOpenFolder();
  const token = "5ec4e7";
  const victims = makeVictims(host.folder, token, ["observe", "inner/file"], token);
  const folder = host.layout.requests;
  fs.mkdirSync(folder, { recursive: true });
  fs.chownSync(folder, AGENT, AGENT);

  return {
    attack: ["requests", folder, victims.bait, victims.folder, makeFifo(host, AGENT)],
    user: AGENT,
    round: async () => {
      const { taken, junk } = await takeAll(folder);
      const changed = taken.some((each) => each.token === token) ? "the bait was read" : victims.changed();
      if (changed === undefined && junk > 0) throw new Error("there was junk");
      return changed;
    },
    look: () => leak(victims, [folder]),
    [Symbol.asyncDispose]: () => end(host, victims),
  };
}

async function hostWithOpenFolder(): Promise<TestHost> {
  const host = await makeHost({}, { fast: true });
  fs.chmodSync(host.folder, 0o755);
  return host;
}

/** Attackers cannot make one with Node, but give it further names. */
function makeFifo(host: TestHost, user: number): string {
  const path = join(host.folder, `fifo-${user}`);
  execFileSync("mkfifo", [path]);
  fs.chownSync(path, user, user);
  return path;
}

function leak(victims: Victims, folders: readonly string[]): string | undefined {
  const path = folders.map((folder) => victims.leakIn(folder)).find((found) => found !== undefined);
  return path && `the secret was copied to ${path}`;
}

async function end(host: TestHost, victims: Victims): Promise<void> {
  victims[Symbol.dispose]();
  await host[Symbol.asyncDispose]();
}
