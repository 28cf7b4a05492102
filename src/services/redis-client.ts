import { X509Certificate } from "node:crypto";
import type { Duplex } from "node:stream";
import { connect as connectTls, type TLSSocket } from "node:tls";
import type { Connect } from "../base/connect.ts";
import { AgentError, type AgentErrorOptions } from "../base/errors.ts";
import { CIPHERS } from "../base/tls-ciphers.ts";
import { addressText } from "../core/address.ts";
import type { Address, Generation } from "../core/ports.ts";
import { encodeCommand, type Reply, readReply } from "./resp.ts";

export interface RedisClient extends Disposable {
  /** Sends one command and returns its reply, an error reply as data. Throws `RELOAD_FAILED` where there is none. */
  ask(...words: readonly string[]): Promise<Reply>;
}

/**
 * A connection to Redis that ends when `signal` aborts. With a generation it speaks TLS, shows that pair, and trusts
 * nobody but a server whose certificate that generation's issuer gave for one of its names. Throws `SERVICE_DOWN` where
 * nothing listens, else `RELOAD_FAILED`.
 */
export async function openRedis(
  connect: Connect,
  address: Address,
  generation: Generation | undefined,
  signal: AbortSignal,
): Promise<RedisClient> {
  const name = addressText(address);
  const raw = await connect(address, name, signal);
  if (generation === undefined) return talk(raw, name, signal);
  const pem = generation.chain.map((certificate) => certificate.pem).join("");
  const socket = connectTls({
    socket: raw,
    cert: pem,
    key: generation.key.toPem(),
    ciphers: CIPHERS,
    rejectUnauthorized: false,
  });
  const client = talk(socket, name, signal);
  try {
    await shaken(socket, name);
    trust(socket, generation, name);
    return client;
  } catch (error) {
    client[Symbol.dispose]();
    throw error;
  }
}

function shaken(socket: TLSSocket, name: string): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.once("secureConnect", resolve);
    socket.once("error", (cause) => reject(broken(name, cause, "the TLS handshake failed: ")));
    socket.once("close", () => reject(failure(name, "the TLS handshake was not finished in time")));
  });
}

/**
 * The password goes to this server, so its chain and one of its names must be right. Its dates are not asked for: a
 * server whose certificate has expired is the one that needs the new one most.
 */
function trust(socket: TLSSocket, { chain, roots, request }: Generation, name: string): void {
  const leaf = socket.getPeerX509Certificate();
  const between = chain.slice(1).map(({ der }) => new X509Certificate(der));
  for (let above = leaf?.issuerCertificate; above && between.length < 10; above = above.issuerCertificate)
    between.push(above);
  const anchors = roots.map(({ der }) => new X509Certificate(der));
  if (leaf === undefined || !leadsTo(leaf, between, anchors)) {
    throw failure(name, "its certificate does not lead to this issuer's roots", { hint: STRANGER });
  }
  const named = request.names.some(({ type, value }) =>
    type === "ip" ? leaf.checkIP(value) : type === "dns" && leaf.checkHost(value.replace(/^\*/, "any")),
  );
  if (!named) throw failure(name, "its certificate has none of this spec's names", { hint: STRANGER });
}

/** Each certificate is gone on from once: ten that all have issued each other lead on in millions of orders. */
function leadsTo(
  leaf: X509Certificate,
  between: readonly X509Certificate[],
  anchors: readonly X509Certificate[],
): boolean {
  const reached = [leaf];
  // The list grows while it is walked: issuers of issuers come in behind.
  for (const below of reached) {
    if (anchors.some((anchor) => issuedBy(below, anchor))) return true;
    reached.push(...between.filter((above) => above.ca && !reached.includes(above) && issuedBy(below, above)));
  }
  return false;
}

function issuedBy(child: X509Certificate, parent: X509Certificate): boolean {
  return child.checkIssued(parent) && child.verify(parent.publicKey);
}

/** Commands and replies over a stream, one at a time. */
function talk(stream: Duplex, name: string, signal: AbortSignal): RedisClient {
  let received: Buffer = Buffer.alloc(0);
  let ended: AgentError | undefined;
  let waiting: PromiseWithResolvers<Reply> | undefined;
  const end = (error: AgentError): void => {
    ended ??= error;
    waiting?.reject(ended);
    stream.destroy();
  };
  const onAbort = (): void => end(failure(name, "no answer in time"));
  signal.addEventListener("abort", onAbort, { once: true });
  stream.on("error", (cause) => end(broken(name, cause)));
  stream.once("close", () => end(failure(name, "it closed the connection", { hint: UNWANTED })));
  stream.on("data", (chunk: Buffer) => {
    received = Buffer.concat([received, chunk]);
    try {
      const read = readReply(received);
      if (read === undefined) return;
      received = received.subarray(read.end);
      waiting?.resolve(read.reply);
    } catch (error) {
      end(error instanceof AgentError ? error : failure(name, String(error), { cause: error }));
    }
  });
  return {
    ask: async (...words) => {
      if (ended) throw ended;
      waiting = Promise.withResolvers();
      stream.write(encodeCommand(words));
      return await waiting.promise;
    },
    [Symbol.dispose]: () => {
      signal.removeEventListener("abort", onAbort);
      stream.end(() => stream.destroy()); // who never closes its side would be held on to
    },
  };
}

/** Redis ends what it does not want before a word of its answer can be read. */
const UNWANTED =
  "Redis closes a connection at once at maxclients, by protected-mode, and at its tls-port where tls: true is missing";
const DISTRUST = "does Redis trust this issuer's roots? its tls-ca-cert-file has to hold them";
const NO_CLIENT =
  "Redis asks its clients for a certificate, and this one may not be a client's: add client to the spec's usages:, or give socket: in place of connect:";
const STRANGER =
  "while Redis serves another certificate, give socket: in place of connect:, or restart it with the files of this spec";

/** A connection that has ended with an error; OpenSSL's have a short reason, and a text with its own file names. */
function broken(name: string, cause: Error, during = ""): AgentError {
  const fact = "reason" in cause ? String(cause.reason) : cause.message;
  const alert = /\balert (unknown ca|.*certificate)/.exec(fact)?.[1];
  const hint = alert === undefined ? UNWANTED : alert === "unsupported certificate" ? NO_CLIENT : DISTRUST;
  return failure(name, during + fact, { cause, hint });
}

function failure(name: string, fact: string, more: AgentErrorOptions = {}): AgentError {
  return new AgentError("RELOAD_FAILED", `Cannot talk to Redis at ${name}: ${fact}`, more);
}
