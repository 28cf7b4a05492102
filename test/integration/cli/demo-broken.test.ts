/** Each step of the demo with one thing broken in its world: what was not seen is said, and the demo fails. */
import { readFile, rename, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { nodeFlags } from "../../../scripts/pinned-node.mjs";
import { pause, SECOND } from "../../../src/base/time.ts";
import type { Actor } from "../../../src/cli/demo/actor.ts";
import { type CaActor, type Cast, createCast, type ServerActor } from "../../../src/cli/demo/cast.ts";
import { perform } from "../../../src/cli/demo/perform.ts";
import type { Stage } from "../../../src/cli/demo/stage.ts";
import { type Channel, createPrint } from "../../../src/cli/print.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { bundled } from "../../servers/program.ts";

const REFUSED = { status: 401, body: '{"status":401,"message":"The request lacked necessary authorization"}' };

/** The usual cast with some of its members playing badly; `life` counts how often one was started, from 1. */
interface Breaks {
  readonly ca?: (ca: CaActor, life: number) => Promise<CaActor> | CaActor;
  readonly beforeCa?: (stage: Stage, life: number) => Promise<void>;
  readonly server?: (server: ServerActor, stage: Stage) => Promise<ServerActor> | ServerActor;
  readonly agent?: (agent: Actor, stage: Stage, life: number) => Promise<Actor> | Actor;
  readonly beforeAgent?: (stage: Stage) => Promise<void>;
}

function broken(cast: Cast, { ca, beforeCa, server, agent, beforeAgent }: Breaks): Cast {
  const lives = { ca: 0, agent: 0 };
  return {
    startCa: async (call, onRequest) => {
      lives.ca += 1;
      await beforeCa?.(call.stage, lives.ca);
      const actor = await cast.startCa(call, onRequest);
      return (await ca?.(actor, lives.ca)) ?? actor;
    },
    startServer: async (call) => {
      const actor = await cast.startServer(call);
      return (await server?.(actor, call.stage)) ?? actor;
    },
    startAgent: async (call, onEvent) => {
      lives.agent += 1;
      await beforeAgent?.(call.stage);
      const actor = await cast.startAgent(call, onEvent);
      return (await agent?.(actor, call.stage, lives.agent)) ?? actor;
    },
  };
}

/** What the demo said on standard error, and whether it failed. */
async function play(breaks: Breaks): Promise<{ readonly ok: boolean; readonly said: string }> {
  const program = [process.execPath, ...nodeFlags("demo"), await bundled()];
  let said = "";
  const channel = (write: (text: string) => void): Channel => {
    return { write, isTerminal: false, isColoured: false, size: () => undefined };
  };
  const print = createPrint(
    channel(() => undefined),
    channel((text) => (said += text)),
  );
  const ok = await perform({
    print,
    cast: broken(createCast(program), breaks),
    signal: new AbortController().signal,
    patience: 20 * SECOND,
  });
  return { ok, said };
}

async function edit(file: string, from: string, to: string): Promise<void> {
  const text = await readFile(file, "utf8");
  expect(text).toContain(from);
  await writeFile(file, text.replace(from, to));
}

const editSpec =
  (from: string, to: string) =>
  async ({ places }: Stage) => {
    await edit(join(places.specs, "web.yaml"), from, to);
  };

/** An end that is claimed and does not come. */
const survives = (actor: Actor, to: NodeJS.Signals) => ({
  end: async (signal: NodeJS.Signals) => (signal === to ? { exitCode: null, signal: to } : await actor.end(signal)),
});

/** Another key at the path, as a torn deployment would leave it. Answers how to put it right again. */
async function swapKey({ pair, folder }: Stage): Promise<() => Promise<void>> {
  const other = join(folder, "other.pem");
  await writeFile(other, (await generateKey("ec-p256")).toPem(), { mode: 0o600 });
  await rename(pair.key, `${pair.key}.right`);
  await symlink(other, pair.key);
  return () => rename(`${pair.key}.right`, pair.key);
}

function serverFallsWithCa(): Breaks {
  let server: ServerActor | undefined;
  return {
    server: (actor) => (server = actor),
    ca: (ca) => ({
      ...ca,
      end: async (signal) => {
        const ending = await ca.end(signal);
        server?.signal("SIGKILL");
        return ending;
      },
    }),
  };
}

/** Long before anything is due: the agent would see it, and repair it, if it looked just then. */
function pairTornForAMoment(): Breaks {
  let stage: Stage | undefined;
  return {
    beforeCa: async (where) => void (stage = where),
    ca: (ca) => ({
      ...ca,
      end: async (signal) => {
        const ending = await ca.end(signal);
        await pause(SECOND);
        const putRight = stage && (await swapKey(stage));
        await pause(0.2 * SECOND);
        await putRight?.();
        return ending;
      },
    }),
  };
}

const BREAKS: readonly (readonly [what: string, breaks: Breaks, step: string, expected: string])[] = [
  [
    "a CA that signs nothing",
    { ca: (ca) => ca.setFaults({ answer: REFUSED, only: ["/sign"] }).then(() => ca) },
    "step 1, the first certificate",
    "the CA being asked to sign, and doing so",
  ],
  [
    "a key that its group may read",
    { beforeAgent: editSpec('mode: "0600"', 'mode: "0640"') },
    "step 1, the first certificate",
    "0644 and 0600",
  ],
  [
    "a server that never loads the files",
    { server: (server) => server.ignore(1000).then(() => server) },
    "step 1, the first certificate",
    "served at 127.0.0.1",
  ],
  [
    "an agent that leaves the password on the host",
    { beforeAgent: ({ places }) => edit(places.config, "delete_after_use: true", "delete_after_use: false") },
    "step 2, no secret is left",
    "the password file deleted",
  ],
  [
    "a CA that renews nothing",
    { ca: (ca) => ca.setFaults({ answer: REFUSED, only: ["/rekey"] }).then(() => ca) },
    "step 3, renewal in its window",
    "asked for a renewal over mTLS, and granting it",
  ],
  [
    "an agent that renews before the window",
    { beforeAgent: editSpec("key: { rotate: true }", "renew: { before: 12s }\nkey: { rotate: true }") },
    "step 3, renewal in its window",
    "between 1/2 and 2/3 of the lifetime",
  ],
  [
    "an agent that keeps its key",
    { beforeAgent: editSpec("key: { rotate: true }", "key: { rotate: false }") },
    "step 3, renewal in its window",
    "asked for a renewal over mTLS, and granting it",
  ],
  [
    "a CA that survives its killing",
    { ca: (ca) => ({ ...ca, ...survives(ca, "SIGKILL") }) },
    "step 4, the CA is gone",
    "nobody listening on the CA's port",
  ],
  [
    "a server that goes down with the CA",
    serverFallsWithCa(),
    "step 4, the CA is gone",
    "the TLS server ended by itself",
  ],
  [
    "another CA that comes back",
    { beforeCa: (stage, life) => (life === 1 ? Promise.resolve() : rm(join(stage.ca, "identity.json"))) },
    "step 5, the CA is back",
    "the same CA",
  ],
  [
    "a CA that comes back and renews nothing",
    { ca: (ca, life) => (life === 1 ? ca : ca.setFaults({ answer: REFUSED, only: ["/rekey"] }).then(() => ca)) },
    "step 5, the CA is back",
    "asked for a renewal over mTLS, and granting it",
  ],
  [
    "a server that ignores nothing",
    { server: (server) => ({ ...server, ignore: () => Promise.resolve() }) },
    "step 6, a reload that does not take",
    "told to reload, and that ignored",
  ],
  [
    "a server that ignores everything from then on",
    { server: (server) => ({ ...server, ignore: () => server.ignore(1000) }) },
    "step 6, a reload that does not take",
    "told to reload, and that loaded",
  ],
  [
    "an agent that survives its killing",
    { agent: (agent, _stage, life) => (life === 1 ? { ...agent, ...survives(agent, "SIGKILL") } : agent) },
    "step 7, the agent killed in mid-renewal",
    "no agent answering",
  ],
  [
    "a pair that is torn when the agent is killed",
    {
      agent: (agent, stage) => ({
        ...agent,
        end: async (signal) => {
          const ending = await agent.end(signal);
          if (signal === "SIGKILL") await swapKey(stage);
          return ending;
        },
      }),
    },
    "step 7, the agent killed in mid-renewal",
    "the whole pair",
  ],
  [
    "an agent that does not come up again",
    {
      agent: (agent, _stage, life) => {
        if (life > 1) agent.signal("SIGTERM");
        return agent;
      },
    },
    "step 7, the agent killed in mid-renewal",
    "the agent ended by itself",
  ],
  [
    "an agent that does not end as it should",
    { agent: (agent) => ({ ...agent, end: () => agent.end("SIGKILL") }) },
    "step 8, the end",
    "the agent ending with exit code 0",
  ],
  ["a pair that was torn for a moment", pairTornForAMoment(), "step 8, the end", "no mismatched, torn or missing pair"],
];

describe.concurrent("the demo fails with", () => {
  test.for(BREAKS)("%s", async ([, breaks, step, expected], { expect }) => {
    const { ok, said } = await play(breaks);

    expect(said).toContain(`certagent: not seen in ${step}: `);
    expect(said).toContain(expected);
    expect(ok).toBe(false);
  });
});
