import { on } from "node:events";
import { chmod, lstat, mkdir, unlink } from "node:fs/promises";
import { createServer, type Server, type Socket } from "node:net";
import { connect } from "../base/connect.ts";
import { AgentError, asAgentError, failureOf } from "../base/errors.ts";
import { fileError, isMissing } from "../base/file-error.ts";
import type { Log } from "../base/log.ts";
import { oneForAll } from "../base/one-for-all.ts";
import { type Milliseconds, SECOND, withDeadline } from "../base/time.ts";
import type { PlanDocument, RenewOutcome, StatusDocument } from "../core/status-document.ts";
import {
  type ControlLine,
  ControlRequest,
  controlSocket,
  LONGEST_REQUEST,
  type RenewProgress,
} from "./control-protocol.ts";

/** What can be asked of a running agent. Names that it does not know are a `USAGE` error. */
export interface ControlledAgent {
  /** None is all of them. */
  status(names: readonly string[]): StatusDocument | Promise<StatusDocument>;
  plan(names: readonly string[], signal: AbortSignal): Promise<PlanDocument>;
  /** Resolves when the outcomes are known; `signal` aborts when nobody waits for them any more. */
  renew(
    names: readonly string[] | "all",
    onProgress: (line: RenewProgress) => void,
    signal: AbortSignal,
  ): Promise<readonly RenewOutcome[]>;
}

/** Many people may wait for a renewal; a loop that forgets to close its connections must not cost us descriptors. */
const MOST_CONNECTIONS = 64;
const REQUEST_DEADLINE: Milliseconds = 5 * SECOND;
/** For a client to take what it asked for. */
const ANSWER_DEADLINE: Milliseconds = 30 * SECOND;
/** Progress is dropped for a client that has not read this much, in bytes. */
const LONGEST_BACKLOG = 64 * 1024;

export interface Control extends AsyncDisposable {
  /** Listens anew where the socket was removed, or nobody can reach it any more. Never rejects. */
  look(): Promise<void>;
}

/**
 * Answers on `agent.sock` in `folder` until disposed of. Whoever may open the folder (0750) and the socket (0660) may
 * ask. The socket of an agent that died is replaced; where one still answers this throws `LOCKED`. Throws
 * `STATE_UNUSABLE` where the folder cannot be used.
 */
export async function openControl(folder: string, agent: ControlledAgent, log: Log): Promise<Control> {
  const path = controlSocket(folder);
  const connections = new Set<Socket>();
  const open = async (): Promise<Listening> => {
    await prepareFolder(folder);
    await removeStale(path);
    const server = createServer((socket) => {
      connections.add(socket);
      socket.once("close", () => connections.delete(socket));
      // What cannot be read or written ends the connection, and nothing else.
      socket.on("error", () => socket.destroy());
      void serve(socket, agent, log);
    });
    server.maxConnections = MOST_CONNECTIONS;
    const identity = await listen(server, path);
    server.on("error", (error) => log.warning("the control socket had a failure", { reason: error.message }));
    return { server, identity };
  };
  let listening: Listening | undefined = await open();
  let isOver = false;
  let told = "";
  const look = oneForAll(async () => {
    if (isOver || (listening !== undefined && (await identityOf(path)) === listening.identity)) return;
    if (listening !== undefined) log.warning("the control socket is out of reach, listening at a new one", { path });
    // Before there is another one: whatever has its name is removed with it.
    listening?.server.close();
    listening = undefined;
    try {
      listening = await open();
      told = "";
    } catch (error) {
      const { message, hint } = asAgentError(error);
      if (message !== told) log.warning("cannot be asked", { reason: message, hint });
      told = message;
    }
  });
  return {
    look,
    [Symbol.asyncDispose]: async () => {
      isOver = true;
      await look();
      const closed = Promise.withResolvers<void>();
      if (listening === undefined) closed.resolve();
      else listening.server.close(() => closed.resolve());
      for (const connection of connections) connection.destroy();
      await closed.promise;
    },
  };
}

interface Listening {
  readonly server: Server;
  /** Of its socket. */
  readonly identity: string;
}

/** Tells a socket from whatever else may have its name; empty where nothing has. */
async function identityOf(path: string): Promise<string> {
  const found = await lstat(path, { bigint: true }).catch(() => undefined);
  return found === undefined ? "" : `${found.dev} ${found.ino}`;
}

/** Only its owner may put names into the folder: else anybody could answer in our place. */
async function prepareFolder(folder: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o755 }).catch(unusable("make", folder));
  const found = await lstat(folder).catch(unusable("use", folder));
  if (!found.isDirectory()) throw new AgentError("STATE_UNUSABLE", `Cannot use "${folder}": it is no folder`);
  if (found.uid !== process.geteuid?.()) {
    throw new AgentError("STATE_UNUSABLE", `Cannot use "${folder}": it belongs to another user (uid ${found.uid})`, {
      hint: "run certagent as that user, or with a folder of its own (--runtime)",
    });
  }
  await chmod(folder, 0o750).catch(unusable("use", folder));
}

/** A socket outlives the process that bound it. Nobody listens to it: it may go. */
async function removeStale(path: string): Promise<void> {
  try {
    if (!(await lstat(path)).isSocket()) {
      throw new AgentError("STATE_UNUSABLE", `Cannot listen at "${path}": something that is no socket is there`);
    }
    (await connect({ path }, path, withDeadline(REQUEST_DEADLINE))).destroy();
  } catch (error) {
    if (isMissing(error)) return;
    if (!(error instanceof AgentError) || error.code !== "SERVICE_DOWN") throw error;
    await unlink(path).catch(unusable("replace", path));
    return;
  }
  throw new AgentError("LOCKED", `Cannot listen at "${path}": another agent answers there`, {
    hint: "stop it first, or use a folder of its own with --runtime",
  });
}

/** Answers the identity of its socket. */
async function listen(server: Server, path: string): Promise<string> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("error", reject);
  server.listen(path, resolve);
  await promise.catch(unusable("listen at", path));
  server.off("error", reject);
  try {
    await chmod(path, 0o660).catch(unusable("change the mode of", path));
    return await identityOf(path);
  } catch (error) {
    server.close();
    throw error;
  }
}

function unusable(action: string, path: string): (error: unknown) => never {
  return (error) => {
    throw fileError(action, path, error, "STATE_UNUSABLE");
  };
}

async function serve(socket: Socket, agent: ControlledAgent, log: Log): Promise<void> {
  const gone = new AbortController();
  socket.once("close", () => gone.abort());
  let last: ControlLine;
  try {
    const request = parseRequest(await readLine(socket, withDeadline(REQUEST_DEADLINE, gone.signal)));
    last = { result: await answer(request, agent, (progress) => send(socket, { progress }), gone.signal) };
  } catch (thrown) {
    const error = asAgentError(thrown);
    if (error.code === "BUG" && !gone.signal.aborted) {
      log.error("cannot answer on the control socket", { reason: error.message, stack: stackOf(thrown) });
    }
    last = { error: failureOf(error) };
  }
  withDeadline(ANSWER_DEADLINE, gone.signal).addEventListener("abort", () => socket.destroy(), { once: true });
  socket.end(`${JSON.stringify(last)}\n`);
}

function answer(
  request: ControlRequest,
  agent: ControlledAgent,
  onProgress: (line: RenewProgress) => void,
  signal: AbortSignal,
): unknown {
  if (request.command === "status") return agent.status(request.names);
  if (request.command === "plan") return agent.plan(request.names, signal);
  return agent.renew(request.names, onProgress, signal);
}

function send(socket: Socket, line: ControlLine): void {
  if (socket.writable && socket.writableLength < LONGEST_BACKLOG) socket.write(`${JSON.stringify(line)}\n`);
}

/** The first line that comes; what follows it is not looked at. */
async function readLine(socket: Socket, signal: AbortSignal): Promise<string> {
  let line = Buffer.alloc(0);
  try {
    for await (const [chunk] of on(socket, "data", { signal, close: ["end", "close"] })) {
      line = Buffer.concat([line, chunk as Buffer]);
      const end = line.indexOf("\n");
      if (end >= 0 && end <= LONGEST_REQUEST) return line.toString("utf8", 0, end);
      if (line.length > LONGEST_REQUEST) throw refused(`it is longer than ${LONGEST_REQUEST} bytes`);
    }
  } catch (error) {
    throw signal.aborted ? refused("it did not come in time") : error;
  }
  throw refused("it does not end in a line feed");
}

function parseRequest(line: string): ControlRequest {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch {
    throw refused("it is not JSON");
  }
  const parsed = ControlRequest.safeParse(json);
  if (!parsed.success) throw refused(parsed.error.issues.map(({ message }) => message).join(", "));
  return parsed.data;
}

function refused(because: string): AgentError {
  return new AgentError("USAGE", `Cannot understand the request: ${because}`);
}

function stackOf(thrown: unknown): string | undefined {
  return thrown instanceof Error ? thrown.stack : undefined;
}
