import { randomUUID } from "node:crypto";
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Server } from "node:https";
import type { TLSSocket } from "node:tls";
import { DAY, HOUR, type Instant, pause, SECOND } from "../base/time.ts";
import { cryptoKeys } from "../x509/csr.ts";
import { generateKey } from "../x509/key.ts";
import { signCertificate } from "./authority.ts";
import type { TransportFault } from "./faults.ts";
import { serverLeaf } from "./leaf.ts";
import { answer, type CaAnswer, type CaRequest } from "./routes.ts";
import type { CaState } from "./state.ts";

/** One request, as the CA's log has it. */
export interface RequestRecord {
  /** When it was answered. */
  readonly at: Instant;
  readonly method: string;
  readonly path: string;
  readonly status: number;
  /** Why it was refused, where clients are not told. */
  readonly reason: string | undefined;
  readonly id: string;
  readonly userAgent: string | undefined;
  /** Whether a client certificate was shown. */
  readonly mtls: boolean;
}

/** The HTTPS server of a CA; not listening yet. `record` hears of every request. */
export async function createCaServer(state: CaState, record: (request: RequestRecord) => void): Promise<Server> {
  const key = await generateKey("ec-p256");
  const now = state.now() - state.policy.clockOffset;
  const validity = { notBefore: now - HOUR, notAfter: now + 30 * DAY };
  const leaf = await signCertificate(state.intermediate, serverLeaf(state.names, cryptoKeys(key).publicKey, validity));
  const authorities = [...state.roots, state.intermediate].map(({ certificate }) => certificate.pem);
  const { createServer } = await import("node:https"); // the bundle of the agent would load it at start
  const server = createServer({
    key: key.toPem(),
    cert: leaf.pem + state.intermediate.certificate.pem,
    ca: authorities,
    // Go's "verify if given", which Node does not have: see below.
    requestCert: true,
    rejectUnauthorized: false,
    keepAliveTimeout: 15 * SECOND,
  });
  server.on("connection", (socket) => {
    if (state.faults.transport === "down") socket.destroy();
  });
  server.on("secureConnection", (socket: TLSSocket) => {
    if (socket.getPeerX509Certificate() !== undefined && !socket.authorized) socket.destroy();
  });
  server.on("request", (request: IncomingMessage, response: ServerResponse) => {
    // The other side may leave at any time; there is nobody to tell.
    serve(state, request, response, record).catch(() => request.socket.destroy());
  });
  return server;
}

async function serve(
  state: CaState,
  incoming: IncomingMessage,
  response: ServerResponse,
  record: (request: RequestRecord) => void,
): Promise<void> {
  const request = await readRequest(incoming);
  const { faults } = state;
  const faulty = faults.only === undefined || faults.only.includes(request.path);
  const replaced = faulty ? faults.answer : undefined;
  const right = replaced === undefined ? await answer(state, request) : undefined;
  const given: CaAnswer = right ?? {
    status: replaced?.status ?? 0,
    type: "application/json",
    body: replaced?.body ?? "",
  };
  const id = incoming.headers["x-request-id"]?.toString() ?? randomUUID();
  record({
    at: state.now(),
    method: request.method,
    path: request.path,
    status: given.status,
    reason: given.reason,
    id,
    userAgent: incoming.headers["user-agent"],
    mtls: request.clientCertificate !== undefined,
  });
  if (faults.slow !== undefined) await pause(faults.slow);
  const date = new Date(state.now()).toUTCString();
  const type = given.type === "" ? {} : { "content-type": given.type };
  const headers = { ...type, date, "x-request-id": id, ...replaced?.headers };
  await send(response, given.status, headers, given.body, faulty ? faults.transport : undefined);
}

async function readRequest(incoming: IncomingMessage): Promise<CaRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk as Buffer);
  const url = new URL(incoming.url ?? "/", "https://ca");
  const socket = incoming.socket as TLSSocket;
  return {
    method: incoming.method ?? "GET",
    path: url.pathname.replace(/^\/1\.0(?=\/)/, ""),
    query: url.searchParams,
    headers: incoming.headers,
    body: Buffer.concat(chunks).toString("utf8"),
    clientCertificate: socket.getPeerX509Certificate()?.raw,
  };
}

async function send(
  response: ServerResponse,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: string,
  fault: TransportFault | undefined,
): Promise<void> {
  const half = body.slice(0, body.length / 2);
  switch (fault) {
    case "silent":
      return;
    case "lost":
      response.socket?.destroy();
      return;
    case "reset":
      response.writeHead(status, { ...headers, "content-length": String(body.length) }).write(half);
      await pause(20);
      response.socket?.destroy();
      return;
    case "huge":
      response.writeHead(status, headers);
      await flood(response);
      return;
    case "drip":
      response.writeHead(status, headers);
      for (; !response.destroyed; await pause(20)) response.write(" ");
      return;
    case "garbage":
      response.writeHead(status, headers).end("<html>\u0000 this is no JSON");
      return;
    case "truncated":
      response.writeHead(status, headers).end(half);
      return;
    default:
      response.writeHead(status, headers).end(body);
  }
}

/** Sends a gigabyte, as long as somebody reads it. */
async function flood(response: ServerResponse): Promise<void> {
  const chunk = Buffer.alloc(64 * 1024, " ");
  for (let sent = 0; sent < 2 ** 30 && !response.destroyed; sent += chunk.length) {
    if (!response.write(chunk)) await Promise.race([once(response, "drain"), once(response, "close")]);
  }
  response.end();
}
