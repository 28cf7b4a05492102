/** Real sockets in a real folder; only the agent behind them is a plain object. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmod,
  chown,
  lchown,
  link,
  mkdir,
  mkdtempDisposable,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, test } from "vitest";
import { type ControlledAgent, openControl } from "../../../src/agent/control.ts";
import { AgentError } from "../../../src/base/errors.ts";
import type { Log } from "../../../src/base/log.ts";
import { askPlan, askRenew, askStatus } from "../../../src/cli/control-client.ts";
import type { CertificateStatus, StatusDocument } from "../../../src/core/status-document.ts";

const web: CertificateStatus = {
  name: "web",
  spec: "/etc/certagent.d/web.yaml",
  issuer: "internal",
  subject: "web.internal",
  sans: ["web.internal"],
  state: "pending",
  because: "nothing was issued yet",
  leaf: null,
  next: null,
  outputs: [{ path: "/etc/web.pem", format: "fullchain", state: "missing" }],
  services: [],
  failure: null,
};

function document(names: readonly string[]): StatusDocument {
  const certificates = names.map((name) => ({ ...web, name }));
  return {
    agent: { running: true, pid: 1, version: "1", since: "2026-11-20T09:00:00Z", apply: "direct" },
    certificates,
  };
}

const idle: ControlledAgent = {
  status: document,
  plan: async (names) => ({
    certificates: names.map((name) => ({ name, action: "wait", because: "x", at: null, steps: [] })),
  }),
  renew: async () => [],
};

interface Control extends AsyncDisposable {
  readonly folder: string;
  readonly path: string;
  look(): Promise<void>;
  readonly logged: readonly string[];
}

async function control(agent: Partial<ControlledAgent> = {}): Promise<Control> {
  const parent = await mkdtempDisposable(join(tmpdir(), "control-"));
  const folder = join(parent.path, "run", "control");
  const logged: string[] = [];
  const note = (message: string): void => void logged.push(message);
  const log: Log = { debug: note, info: note, warning: note, error: note };
  const server = await openControl(folder, { ...idle, ...agent }, log);
  const path = join(folder, "agent.sock");
  return {
    folder,
    path,
    look: server.look,
    logged,
    [Symbol.asyncDispose]: async () => {
      await server[Symbol.asyncDispose]();
      await parent[Symbol.asyncDispose]();
    },
  };
}

async function dial(path: string): Promise<Socket> {
  const socket = connect(path);
  await once(socket, "connect");
  return socket;
}

async function say(path: string, bytes: string | Uint8Array): Promise<string> {
  const socket = await dial(path);
  socket.write(bytes);
  return text(socket);
}

test("status and plan come back as the agent gave them", async () => {
  await using server = await control();

  expect(await askStatus(server.folder, ["web", "mail"])).toEqual(document(["web", "mail"]));
  expect(await askPlan(server.folder, ["web"])).toEqual(await idle.plan(["web"], AbortSignal.timeout(1000)));
});

test.each([
  ["its socket was removed", ({ path }: Control) => rm(path)],
  ["its folder was removed", ({ folder }: Control) => rm(folder, { recursive: true })],
])("an agent is asked anew after %s, and tells that once", async (_, remove) => {
  await using server = await control();
  await server.look();
  const before = server.logged.length;

  await remove(server);
  await server.look();
  await server.look();

  expect(await askStatus(server.folder, ["web"])).toEqual(document(["web"]));
  expect([before, server.logged]).toEqual([0, ["the control socket is out of reach, listening at a new one"]]);
});

test("what stands in the socket's way is told once, and when it is gone the agent is asked again", async () => {
  await using server = await control();
  await rm(server.folder, { recursive: true });
  await writeFile(server.folder, "");

  await server.look();
  await server.look();
  expect(server.logged).toHaveLength(2);
  await rm(server.folder);
  await server.look();

  expect(await askStatus(server.folder, ["web"])).toEqual(document(["web"]));
});

test("a status of thousands of certificates comes back whole", async () => {
  const names = Array.from({ length: 5000 }, (_, index) => `certificate-${index}`);
  await using server = await control({ status: () => document(names) });

  expect((await askStatus(server.folder, []))?.certificates.map(({ name }) => name)).toEqual(names);
});

test.each(["status", "plan"])(
  "a name that is asked for a thousand times in one %s is told of once",
  async (command) => {
    await using agent = await control();
    const names = [...Array.from({ length: 1000 }, () => "web"), "mail"];

    const answer = await say(agent.path, `${JSON.stringify({ command, names })}\n`);

    expect(JSON.parse(answer)).toMatchObject({ result: { certificates: [{ name: "web" }, { name: "mail" }] } });
  },
);

test("what a newer agent tells besides is kept", async () => {
  const more = { ...document(["web"]), more: { than: "known" } };
  await using server = await control({ status: () => more });

  expect(await askStatus(server.folder, [])).toEqual(more);
});

test("renew tells its progress, and then the outcomes", async () => {
  const outcome = { name: "web", ok: true, state: "current", message: "nginx serves it", hint: null } as const;
  const asked: unknown[] = [];
  await using server = await control({
    renew: async (names, onProgress) => {
      asked.push(names);
      onProgress({ name: "web", message: "issued" });
      onProgress({ name: "web", message: "proven" });
      return [outcome];
    },
  });
  const progress: string[] = [];

  const outcomes = await askRenew(server.folder, "all", ({ message }) => progress.push(message));

  expect(asked).toEqual(["all"]);
  expect(progress).toEqual(["issued", "proven"]);
  expect(outcomes).toEqual([outcome]);
});

test("the agent hears when nobody waits for a renewal any more", async () => {
  const { promise, resolve } = Promise.withResolvers<void>();
  await using server = await control({
    renew: async (_names, _onProgress, signal) => {
      signal.addEventListener("abort", () => resolve());
      await promise;
      return [];
    },
  });
  const client = await dial(server.path);
  client.write('{"command":"renew","names":"all"}\n');

  client.destroy();

  await promise;
});

test("what the agent throws reaches the client with its code, message and hint", async () => {
  await using server = await control({
    plan: () => Promise.reject(new AgentError("USAGE", 'There is no spec "wbe"', { hint: "there are: web" })),
  });

  await expect(askPlan(server.folder, ["wbe"])).rejects.toMatchObject({
    code: "USAGE",
    message: 'There is no spec "wbe"',
    hint: "there are: web",
  });
  expect(server.logged).toEqual([]);
});

test("a defect behind the socket is an answer and a line in the log, and the next one is answered", async () => {
  let calls = 0;
  await using server = await control({
    status: () => {
      if (calls++ === 0) throw new TypeError("undefined is no function");
      return document([]);
    },
  });

  await expect(askStatus(server.folder, [])).rejects.toMatchObject({ code: "BUG" });
  expect(server.logged).toEqual(["cannot answer on the control socket"]);
  expect(await askStatus(server.folder, [])).toEqual(document([]));
});

test("an answer of another shape is refused with what to do", async () => {
  await using server = await control({ status: () => ({ certificates: "none" }) as unknown as StatusDocument });

  await expect(askStatus(server.folder, [])).rejects.toMatchObject({
    code: "AGENT_UNREACHABLE",
    hint: "it may be of another version than this command: restart it",
  });
});

test.each([
  ["garbage", "\x00\xff\x16\x03\x01\n", "it is not JSON"],
  ["an empty line", "\n", "it is not JSON"],
  ["an unknown command", '{"command":"stop"}\n', "Invalid"],
  ["an unknown key", '{"command":"status","names":[],"as":"root"}\n', "Unrecognized key"],
  ["no names", '{"command":"renew","names":[]}\n', "Too small"],
  ["names that are no texts", '{"command":"status","names":[1]}\n', "expected string"],
  ["a path that is no name", `{"command":"status","names":["${"../".repeat(200)}"]}\n`, "at most 255 characters"],
  ["a null", "null\n", "expected object"],
  ["an oversized line", `{"command":"status","names":["${"x".repeat(100_000)}"]}\n`, "longer than 65536 bytes"],
  ["a line without end", "x".repeat(100_000), "longer than 65536 bytes"],
])("a client that sends %s is told so, and harms nobody", async (_, bytes, because) => {
  await using server = await control();

  const answer: unknown = JSON.parse(await say(server.path, bytes));

  expect(answer).toMatchObject({ error: { code: "USAGE", message: expect.stringContaining(because) } });
  expect(await askStatus(server.folder, ["web"])).toEqual(document(["web"]));
});

test("an empty name, of a variable that is not set say, is no name of a spec and no broken request", async () => {
  const refused = new AgentError("USAGE", 'There is no spec ""', { hint: "there are: web" });
  await using server = await control({ plan: () => Promise.reject(refused) });

  await expect(askPlan(server.folder, [""])).rejects.toMatchObject({ message: 'There is no spec ""' });
});

test("a client that never ends its request is let go of", async () => {
  await using server = await control();

  expect(JSON.parse(await say(server.path, '{"command":'))).toMatchObject({
    error: { message: "Cannot understand the request: it did not come in time" },
  });
});

test("clients that never read what they asked for hold up nobody", async () => {
  const names = Array.from({ length: 5000 }, (_, index) => `certificate-${index}`);
  await using server = await control({ status: (asked) => document(asked.length > 0 ? asked : names) });
  const sleepers = await Promise.all(Array.from({ length: 20 }, () => dial(server.path)));
  for (const sleeper of sleepers) sleeper.pause().write('{"command":"status","names":[]}\n');

  expect(await askStatus(server.folder, ["web"])).toEqual(document(["web"]));

  for (const sleeper of sleepers) sleeper.destroy();
});

test("more connections than the agent takes are closed, and there is room again when they have gone", async () => {
  await using server = await control();
  const crowd = await Promise.all(Array.from({ length: 64 }, () => dial(server.path)));

  await expect(askStatus(server.folder, [])).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });

  for (const one of crowd) one.destroy();
  await expect.poll(() => askStatus(server.folder, []).catch(() => undefined)).toEqual(document([]));
});

test("the folder and the socket are for owner and group alone, whatever the umask and whatever was there", async () => {
  await using parent = await mkdtempDisposable(join(tmpdir(), "control-"));
  await chmod(parent.path, 0o777);
  await using _server = await openControl(parent.path, idle, silent);

  expect((await stat(parent.path)).mode & 0o7777).toBe(0o750);
  expect((await stat(join(parent.path, "agent.sock"))).mode & 0o7777).toBe(0o660);
});

const silent: Log = { debug: () => {}, info: () => {}, warning: () => {}, error: () => {} };

test("where no agent runs, there is no answer and no error", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "control-"));

  expect(await askStatus(folder.path, [])).toBeUndefined();
  expect(await askStatus(join(folder.path, "not", "there"), [])).toBeUndefined();
});

test("the socket of an agent that was killed is taken over", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "control-"));
  const path = join(folder.path, "agent.sock");
  const code = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => console.log("up"))`;
  const dead = spawn(process.execPath, ["-e", code], { stdio: ["ignore", "pipe", "inherit"] });
  await once(dead.stdout, "data");
  dead.kill("SIGKILL");
  await once(dead, "exit");
  expect(await askStatus(folder.path, [])).toBeUndefined();

  await using _server = await openControl(folder.path, idle, silent);

  expect(await askStatus(folder.path, ["web"])).toEqual(document(["web"]));
});

test("the socket of an agent that lives is left alone", async () => {
  await using server = await control();

  await expect(openControl(server.folder, idle, silent)).rejects.toMatchObject({ code: "LOCKED" });
  expect(await askStatus(server.folder, ["web"])).toEqual(document(["web"]));
});

test("something else at the socket's path is left alone", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "control-"));
  const path = join(folder.path, "agent.sock");
  await writeFile(path, "precious");

  await expect(openControl(folder.path, idle, silent)).rejects.toMatchObject({ code: "STATE_UNUSABLE" });
  expect((await stat(path)).size).toBe(8);
});

test("a control folder of another user is refused", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "control-"));
  execFileSync("chown", ["nobody", folder.path]);

  await expect(openControl(folder.path, idle, silent)).rejects.toThrow("it belongs to another user (uid 65534)");
});

test("a path that is too long for a socket says so", async () => {
  const folder = join(tmpdir(), "x".repeat(100));

  await expect(openControl(folder, idle, silent)).rejects.toThrow("a socket's path has at most 107 bytes");
});

test("an agent that closes the connection without an answer is said to have done so", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "control-"));
  const deaf = createServer((socket) => void socket.end()).listen(join(folder.path, "agent.sock"));
  await once(deaf, "listening");

  await expect(askStatus(folder.path, [])).rejects.toThrow("it closed the connection without an answer");

  deaf.close();
});

describe("an agent that was taken over", () => {
  const AGENT = 4321;

  /** Its folder, and a server of somebody else's elsewhere that would hear what is asked. */
  async function hostile() {
    const parent = await mkdtempDisposable(join(tmpdir(), "control-"));
    const folder = join(parent.path, "control");
    await mkdir(folder);
    await chown(folder, AGENT, AGENT);
    let heard = 0;
    const other = join(parent.path, "other.sock");
    const server = createServer((socket) => {
      heard += 1;
      socket.end(`${JSON.stringify({ result: document(["forged"]) })}\n`);
    }).listen(other);
    await once(server, "listening");
    return {
      folder,
      path: join(folder, "agent.sock"),
      other,
      heard: () => heard,
      [Symbol.asyncDispose]: async () => {
        server.close();
        await parent[Symbol.asyncDispose]();
      },
    };
  }

  test.each([
    ["a link to a socket of root's", "that is no socket", (other: string, path: string) => symlink(other, path)],
    ["another user's socket", "its socket is of user 0, its folder of 4321", link],
    ["a file", "that is no socket", (_: string, path: string) => writeFile(path, "")],
    ["a folder", "that is no socket", (_: string, path: string) => mkdir(path)],
  ])("has nobody connect to %s that it puts in its socket's place", async (_, because, put) => {
    await using host = await hostile();
    await put(host.other, host.path);

    await expect(askStatus(host.folder, [])).rejects.toMatchObject({
      code: "AGENT_UNREACHABLE",
      message: `Cannot ask the agent at "${host.path}": ${because}`,
    });
    expect(host.heard()).toBe(0);
  });

  test("has nobody connect elsewhere by a link in place of its folder", async () => {
    await using host = await hostile();
    await rename(host.other, join(dirname(host.other), "agent.sock"));
    const way = join(dirname(host.folder), "way");
    await symlink(".", way);
    await lchown(way, AGENT, AGENT);

    await expect(askStatus(way, [])).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
    expect(host.heard()).toBe(0);
  });

  test("has nobody connect elsewhere by swapping its own socket for a link as fast as it can", async () => {
    await using host = await hostile();
    const own = join(host.folder, "own.sock");
    const answering = createServer((socket) => void socket.end(`${JSON.stringify({ result: document(["own"]) })}\n`));
    await once(answering.listen(own), "listening");
    await chown(own, AGENT, AGENT);
    const swap = `const { linkSync, symlinkSync, renameSync } = require("node:fs");
      for (const [own, other, path, next] = process.argv.slice(1); ;) {
        linkSync(own, next);
        renameSync(next, path);
        symlinkSync(other, next);
        renameSync(next, path);
      }`;
    const words = [
      "--pdeathsig=KILL",
      process.execPath,
      "-e",
      swap,
      own,
      host.other,
      host.path,
      join(host.folder, "next"),
    ];
    const swapping = spawn("/usr/bin/setpriv", words, { stdio: "inherit" });

    const answers = new Map<unknown, number>();
    while ((answers.get("own") ?? 0) < 200 || (answers.get("AGENT_UNREACHABLE") ?? 0) < 200) {
      const answer: unknown = await askStatus(host.folder, []).then(
        (status) => status?.certificates[0]?.name,
        (error: unknown) => (error instanceof AgentError ? error.code : error),
      );
      answers.set(answer, (answers.get(answer) ?? 0) + 1);
    }
    swapping.kill("SIGKILL");
    await once(swapping, "exit");
    answering.close();

    expect(host.heard()).toBe(0);
  });

  test("has no table made of names as long as it likes", async () => {
    await using server = await control({ status: () => document(["x".repeat(256)]) });

    await expect(askStatus(server.folder, [])).rejects.toMatchObject({ code: "AGENT_UNREACHABLE" });
  });
});
