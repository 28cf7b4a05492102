/** Opens one connection, looks which leaf is served, and closes it so that servers have nothing to log. */
import { isIP, type Socket } from "node:net";
import { connect as connectTls, createSecureContext, type SecureContext, type TLSSocket } from "node:tls";
import { connect } from "../base/connect.ts";
import { formatDuration } from "../base/duration.ts";
import { AgentError } from "../base/errors.ts";
import { type Milliseconds, pause, SECOND, withDeadline } from "../base/time.ts";
import { CIPHERS } from "../base/tls-ciphers.ts";
import { addressText } from "../core/address.ts";
import type { KeyKind, ProbeTarget } from "../core/ports.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";

/** How long a server may take to close its side. */
const GOODBYE: Milliseconds = SECOND;

/** Asks for TLS on a plain connection, reading not a byte more than the answer. Throws `SERVICE_STALE`. */
export type AskForTls = (raw: Socket, name: string, signal: AbortSignal) => Promise<void>;

/** The leaf that is served at a target, after `ask` where TLS does not begin at once. Throws as a {@link Probe} does. */
export async function servedLeaf(target: ProbeTarget, signal: AbortSignal, ask?: AskForTls): Promise<Certificate> {
  const name = addressText(target.address);
  using limit = withDeadline(target.timeout, signal);
  const raw = await connect(target.address, name, limit);
  try {
    await ask?.(raw, name, limit);
  } catch (error) {
    raw.destroy();
    throw error;
  }
  const der = await handshake(raw, target, limit);
  try {
    return parseCertificate(der);
  } catch (cause) {
    throw new AgentError("SERVICE_STALE", `Cannot read the certificate that ${name} serves`, { cause });
  }
}

/** The signatures by which a client asks for a certificate of one kind of key, as OpenSSL names them. */
const SIGNATURES: Readonly<Record<KeyKind, string>> = {
  rsa: "RSA-PSS+SHA256:RSA-PSS+SHA384:RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512",
  ec: "ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512",
  ed25519: "ed25519",
};

/** One of each kind for all probes, since nothing is verified here; without the roots that Node would load. */
const contexts = new Map<KeyKind | undefined, SecureContext>();

function contextFor(keyKind: KeyKind | undefined): SecureContext {
  const asked = keyKind === undefined ? {} : { sigalgs: SIGNATURES[keyKind] };
  const context = contexts.get(keyKind) ?? createSecureContext({ ca: [], ciphers: CIPHERS, ...asked });
  contexts.set(keyKind, context);
  return context;
}

/** From here on the raw socket is the TLS socket's: destroying it first crashes the process (nodejs/node 46094). */
async function handshake(raw: Socket, target: ProbeTarget, signal: AbortSignal): Promise<Uint8Array> {
  const named = target.serverName !== null && isIP(target.serverName) === 0 ? { servername: target.serverName } : {};
  // No client certificate: a server that demands one refuses only after it has shown its own.
  const socket = connectTls({
    socket: raw,
    secureContext: contextFor(target.keyKind),
    rejectUnauthorized: false,
    requestOCSP: true,
    ...named,
  });
  try {
    return await peerLeaf(socket, target, signal);
  } finally {
    await close(socket);
  }
}

function peerLeaf(socket: TLSSocket, target: ProbeTarget, signal: AbortSignal): Promise<Uint8Array> {
  const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
  let seen: Uint8Array | undefined;
  const look = (): void => {
    seen ??= socket.getPeerX509Certificate()?.raw;
  };
  const settle = (error?: Error): void => {
    signal.removeEventListener("abort", onAbort);
    if (seen === undefined) reject(noLeaf(target, error));
    else resolve(seen);
  };
  const onAbort = (): void => settle(new Error(`not finished within ${formatDuration(target.timeout)}`));
  // Under TLS 1.2 a server that demands a client certificate ends the handshake before it is complete. This event
  // comes earlier, whether or not the server staples, and is the one safe moment: the getters crash after a failure.
  socket.once("OCSPResponse", look);
  socket.once("secureConnect", () => {
    look();
    settle();
  });
  socket.on("error", settle);
  socket.once("close", () => settle(new Error("the connection was closed")));
  if (signal.aborted) onAbort();
  else signal.addEventListener("abort", onAbort, { once: true });
  return promise;
}

function noLeaf({ address, serverName }: ProbeTarget, cause: Error | undefined): AgentError {
  const code = cause !== undefined && "code" in cause ? String(cause.code) : "";
  const reason = cause !== undefined && "reason" in cause ? String(cause.reason) : (cause?.message ?? "no certificate");
  const asked = serverName === null ? "" : ` for the name ${serverName}`;
  const isPlain = /WRONG_VERSION_NUMBER|PACKET_LENGTH/.test(code);
  const fact = isPlain ? "what listens there does not speak TLS" : `the TLS handshake${asked} failed: ${reason}`;
  const isNameless = serverName === null && code.includes("UNRECOGNIZED_NAME");
  const hint = isNameless
    ? "it answers only who asks for a name: write server_name: beside the probe's connect:"
    : undefined;
  return new AgentError("SERVICE_STALE", `Cannot see the certificate at ${addressText(address)}: ${fact}`, {
    cause,
    hint,
  });
}

/** PostgreSQL, Redis and others log a connection that is cut; one that says goodbye they do not. */
async function close(socket: TLSSocket): Promise<void> {
  const closed = new AbortController();
  socket.once("close", () => closed.abort());
  socket.resume();
  socket.end();
  if (!socket.closed) await pause(GOODBYE, closed.signal);
  socket.destroy();
}
