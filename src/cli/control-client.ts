import { on } from "node:events";
import type { Socket } from "node:net";
import type { z } from "zod";
import {
  ControlLine,
  type ControlRequest,
  controlSocket,
  LONGEST_ANSWER,
  PlanAnswer,
  RenewAnswer,
  type RenewProgress,
  StatusAnswer,
} from "../agent/control-protocol.ts";
import { AgentError, errorOf } from "../base/errors.ts";
import { HOUR, type Milliseconds, SECOND, withDeadline } from "../base/time.ts";
import type { PlanDocument, RenewOutcome, StatusDocument } from "../core/status-document.ts";
import { connectToAgent, unreachable } from "./agent-socket.ts";

/** `plan` observes first, which takes as long as services take to answer. */
const ANSWER_DEADLINE: Milliseconds = 60 * SECOND;
/** Who waits for longer looks at `status` instead; a taken-over agent could keep a script of root's waiting for ever. */
const RENEW_DEADLINE: Milliseconds = HOUR;
const CLOSED_HINT = "it is being stopped, or many ask at once: try again";

/** How a question is asked, and what its answer has to look like. */
interface Question<Answer> {
  readonly request: ControlRequest;
  readonly schema: z.ZodType<Answer>;
  readonly deadline: Milliseconds;
  readonly onProgress?: (progress: RenewProgress) => void;
}

/**
 * Asks the agent whose control folder that is. Resolves to undefined where none runs; throws what the agent answered,
 * or `AGENT_UNREACHABLE` where it may not be asked or does not answer.
 */
export function askStatus(folder: string, names: readonly string[]): Promise<StatusDocument | undefined> {
  const request: ControlRequest = { command: "status", names: [...names] };
  return ask(folder, { request, schema: StatusAnswer, deadline: ANSWER_DEADLINE });
}

/** See {@link askStatus}. */
export function askPlan(folder: string, names: readonly string[]): Promise<PlanDocument | undefined> {
  const request: ControlRequest = { command: "plan", names: [...names] };
  return ask(folder, { request, schema: PlanAnswer, deadline: ANSWER_DEADLINE });
}

/** See {@link askStatus}. Waits for as long as the renewals take, but no longer than an hour. */
export function askRenew(
  folder: string,
  names: readonly string[] | "all",
  onProgress: (progress: RenewProgress) => void,
): Promise<readonly RenewOutcome[] | undefined> {
  const request: ControlRequest = { command: "renew", names: names === "all" ? names : [...names] };
  return ask(folder, { request, schema: RenewAnswer, deadline: RENEW_DEADLINE, onProgress });
}

async function ask<Answer>(folder: string, question: Question<Answer>): Promise<Answer | undefined> {
  const path = controlSocket(folder);
  const socket = await connectToAgent(folder);
  if (socket === undefined) return undefined;
  try {
    socket.write(`${JSON.stringify(question.request)}\n`);
    return await readAnswer(socket, path, question);
  } finally {
    socket.destroy();
  }
}

async function readAnswer<Answer>(socket: Socket, path: string, question: Question<Answer>): Promise<Answer> {
  for await (const value of values(socket, path, question.deadline)) {
    const line = understood(ControlLine, value);
    if ("error" in line) throw errorOf(line.error);
    if ("result" in line) return understood(question.schema, line.result);
    question.onProgress?.(line.progress);
  }
  throw unreachable(path, "it closed the connection without an answer", { hint: CLOSED_HINT });
}

/** The JSON values that come, a line each, until the other side ends. */
async function* values(socket: Socket, path: string, deadline: Milliseconds): AsyncGenerator {
  if (socket.readableEnded || socket.destroyed) return; // of what is over already no event will tell
  const signal = withDeadline(deadline);
  let chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const [chunk] of on(socket, "data", { signal, close: ["end", "close"] })) {
      let rest = chunk as Buffer;
      size += rest.length;
      if (size > LONGEST_ANSWER) throw unreachable(path, `its answer is longer than ${LONGEST_ANSWER} bytes`, {});
      for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
        yield parse(Buffer.concat([...chunks, rest.subarray(0, end)]).toString());
        chunks = [];
        rest = rest.subarray(end + 1);
      }
      chunks.push(rest);
    }
  } catch (error) {
    if (error instanceof AgentError) throw error;
    if (!signal.aborted) throw unreachable(path, "it closed the connection", { hint: CLOSED_HINT });
    throw unreachable(path, "it did not answer in time", { hint: "its journal may say why: journalctl -u certagent" });
  }
}

function parse(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}

function understood<Value>(schema: z.ZodType<Value>, value: unknown): Value {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new AgentError("AGENT_UNREACHABLE", "Cannot understand the answer of the agent", {
    cause: parsed.error,
    hint: "it may be of another version than this command: restart it",
  });
}
