import type { TLSSocket } from "node:tls";
import type { Dispatcher } from "undici";
import { type Milliseconds, withDeadline } from "../../base/time.ts";
import { type ConnectOptions, connect } from "./connect.ts";

/** More of an answer is not read where nothing else is asked for. */
const MOST_BODY_BYTES = 256 * 1024;

export interface HttpRequest extends ConnectOptions {
  readonly method: "GET" | "POST";
  readonly origin: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: string | undefined;
  /** Of the answer's body. */
  readonly mostBytes?: number | undefined;
  /** For everything from the first packet to the last byte. */
  readonly timeout: Milliseconds;
  /** Called where there is a connection, before a byte of the request leaves. */
  readonly onSend?: (() => void) | undefined;
}

export interface Answer {
  readonly status: number;
  /** Names in lower case; of repeated headers the first. */
  readonly headers: ReadonlyMap<string, string>;
  readonly body: Buffer;
}

/** Why there is no answer, and how far it came: that decides whether it may be sent again elsewhere. */
export interface NoAnswer {
  readonly status?: undefined;
  readonly cause: unknown;
  /** Bytes of the request may have left this host. */
  readonly sent: boolean;
  /** The status of an answer that began and did not come to its end. */
  readonly begun: number | undefined;
  /** The other side closed the connection before the first byte of an answer. */
  readonly silent: boolean;
  /** The number of the TLS alert that the other side sent (RFC 8446, 6.2). */
  readonly alert: number | undefined;
}

/**
 * One request over one fresh connection, which is gone when this resolves. Follows nothing, retries nothing. Rejects
 * only with the reason of an aborted `signal`; everything else that goes wrong is a {@link NoAnswer}.
 */
export async function exchange(request: HttpRequest, signal: AbortSignal): Promise<Answer | NoAnswer> {
  signal.throwIfAborted();
  using deadline = withDeadline(request.timeout, signal);
  let socket: TLSSocket;
  try {
    socket = await connect(request.origin, request, deadline);
  } catch (cause) {
    signal.throwIfAborted();
    return { cause, sent: false, begun: undefined, silent: false, alert: alertIn(cause) };
  }
  // In TLS 1.3 the server's refusal of a client certificate comes after the handshake has ended here, and undici says
  // only that the other side closed: the alert is known to the socket alone.
  let alert: number | undefined;
  socket.on("error", (error) => {
    alert ??= alertIn(error);
  });
  // Of an answer that ends in its headers undici tells nothing.
  let isHeard = false;
  socket.on("readable", () => {
    isHeard ||= socket.readableLength > 0;
  });
  passOverContinue(socket);
  const closed = new Promise<void>((resolve) => socket.once("close", () => resolve()));
  const receiver = receive(request.mostBytes ?? MOST_BODY_BYTES);
  request.onSend?.();
  try {
    return await converse(request, socket, receiver, deadline);
  } catch (cause) {
    signal.throwIfAborted();
    socket.destroy();
    await closed;
    return {
      cause,
      sent: true,
      begun: receiver.status,
      silent: !isHeard && !deadline.aborted,
      alert: alert ?? alertIn(cause),
    };
  }
}

/** Node puts the alert's number into the text only: `…:SSL alert number 45`. */
function alertIn(error: unknown): number | undefined {
  const number = error instanceof Error ? /SSL alert number (\d+)/.exec(error.message)?.[1] : undefined;
  return number === undefined ? undefined : Number(number);
}

async function converse(
  request: HttpRequest,
  socket: TLSSocket,
  receiver: Receiver,
  deadline: AbortSignal,
): Promise<Answer> {
  const { default: Client } = await import("undici/lib/dispatcher/client.js");
  const client = new Client(request.origin, {
    // Not at once: undici does not notice a connection that stands before it has asked for one.
    connect: (_options, callback) => queueMicrotask(() => callback(null, socket)),
    allowH2: false,
    pipelining: 0,
    headersTimeout: request.timeout,
    bodyTimeout: request.timeout,
  });
  const abort = (): void => receiver.abort(deadline.reason as Error);
  deadline.addEventListener("abort", abort, { once: true });
  try {
    const { method, path, headers, body = null } = request;
    client.dispatch({ origin: request.origin, method, path, headers, body }, receiver.handler);
    if (deadline.aborted) abort();
    return await receiver.answer;
  } finally {
    deadline.removeEventListener("abort", abort);
    await client.destroy();
    socket.destroy();
  }
}

/**
 * Has an interim answer that nobody asked for passed over (RFC 9110, 15.2): at `100 Continue` undici ends the connection,
 * at `103 Early Hints` it goes on.
 */
function passOverContinue(socket: TLSSocket): void {
  const read = socket.read.bind(socket) as (size?: number) => Buffer | null;
  socket.read = (size?: number): Buffer | null => {
    const chunk = read(size);
    if (chunk?.toString("latin1", 0, 13) === "HTTP/1.1 100 ") chunk.write("103", 9, "latin1");
    return chunk;
  };
}

interface Receiver {
  readonly handler: Dispatcher.DispatchHandler;
  readonly answer: Promise<Answer>;
  readonly status: number | undefined;
  abort(reason: Error): void;
}

/** Collects one answer of at most so many bytes. */
function receive(mostBytes: number): Receiver {
  const { promise: answer, resolve, reject } = Promise.withResolvers<Answer>();
  let controller: Dispatcher.DispatchController | undefined;
  let status: number | undefined;
  let headers: ReadonlyMap<string, string> = new Map();
  const chunks: Buffer[] = [];
  let length = 0;
  const abort = (reason: Error): void => {
    controller?.abort(reason);
    reject(reason);
  };
  const handler: Dispatcher.DispatchHandler = {
    onRequestStart: (started) => {
      controller = started;
    },
    onResponseStart: (_controller, code, fields) => {
      status = code;
      headers = new Map(Object.entries(fields).map(([name, value]) => [name, [value].flat()[0] ?? ""]));
    },
    onResponseData: (_controller, chunk) => {
      length += chunk.length;
      if (length > mostBytes) abort(new Error(`the answer is longer than ${mostBytes / 1024} KiB`));
      else chunks.push(chunk);
    },
    onResponseEnd: () => resolve({ status: status ?? 0, headers, body: Buffer.concat(chunks) }),
    onResponseError: (_controller, error) => reject(error),
  };
  return {
    handler,
    answer,
    abort,
    get status() {
      return status;
    },
  };
}
