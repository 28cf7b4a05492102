import { once } from "node:events";
import type { Socket } from "node:net";
import { isIP } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { type Milliseconds, SECOND, withDeadline } from "../../base/time.ts";
import { CIPHERS } from "../../base/tls-ciphers.ts";
import type { Certificate } from "../../x509/certificate.ts";
import type { PrivateKey } from "../../x509/key.ts";
import { CONNECT_TIMEOUT } from "./config.ts";

/** What this host shows to the CA: leaf first. */
export interface Identity {
  readonly key: PrivateKey;
  readonly chain: readonly Certificate[];
}

export interface ConnectOptions {
  /** The only trust anchors. `unverified` is for what is checked by its hash afterwards. */
  readonly trust: readonly Certificate[] | "unverified";
  readonly identity?: Identity | undefined;
  readonly proxy?: string | undefined;
  readonly timeout: Milliseconds;
}

/**
 * How long one of several addresses of a name is waited for: longer than a lost packet takes to be sent again (a second).
 * By Node's half a second a CA on such a link, or on a long one, is left for an address where nobody may be.
 */
const PATIENCE = { autoSelectFamilyAttemptTimeout: 2 * SECOND };

/**
 * One fresh TLS connection (at least 1.2) to `origin`, checked against the given anchors and the host's name. Rejects
 * with what Node says, or with the signal's reason.
 */
export async function connect(origin: string, options: ConnectOptions, signal: AbortSignal): Promise<TLSSocket> {
  using deadline = withDeadline(Math.min(options.timeout, CONNECT_TIMEOUT), signal);
  const { host, port } = hostAndPort(origin);
  const tunnel = options.proxy === undefined ? undefined : await openTunnel(options.proxy, origin, deadline);
  const { trust, identity } = options;
  const socket = connectTls({
    ...(tunnel === undefined ? { host, port, ...PATIENCE } : { socket: tunnel, host }),
    servername: isIP(host) === 0 ? host : "",
    minVersion: "TLSv1.2",
    ciphers: CIPHERS,
    ALPNProtocols: ["http/1.1"],
    ...(trust === "unverified" ? { rejectUnauthorized: false } : { ca: trust.map(({ pem }) => pem) }),
    ...(identity === undefined
      ? {}
      : { key: identity.key.toPem(), cert: identity.chain.map(({ pem }) => pem).join("") }),
  });
  // An error after the deadline has nobody who waits for it, and would otherwise end the process.
  for (const used of [socket, tunnel]) used?.on("error", () => {});
  try {
    await once(socket, "secureConnect", { signal: deadline });
    return socket;
  } catch (error) {
    socket.destroy();
    tunnel?.destroy();
    throw deadline.aborted ? deadline.reason : error;
  }
}

/** Where a URL's origin leads: an IPv6 address without its brackets. */
function hostAndPort(origin: string): { readonly host: string; readonly port: number } {
  const { hostname, port, protocol } = new URL(origin);
  const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
  return { host, port: port === "" ? (protocol === "https:" ? 443 : 80) : Number(port) };
}

/** An HTTP CONNECT tunnel (RFC 9110, 9.3.6). */
async function openTunnel(proxy: string, origin: string, signal: AbortSignal): Promise<Socket> {
  const { host, port } = hostAndPort(origin);
  const target = `${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
  // Node's http brings its own fetch and WebSocket along: 6 MB and 40 ms that most hosts have no use for.
  const { request } = await import("node:http");
  const asked = request({
    ...hostAndPort(proxy),
    ...PATIENCE,
    method: "CONNECT",
    path: target,
    headers: { host: target },
    agent: false,
    signal,
  });
  asked.on("error", () => {}).end();
  try {
    const answered = [once(asked, "connect", { signal }), once(asked, "response", { signal })];
    const [response, socket] = (await Promise.race(answered)) as [{ readonly statusCode: number }, Socket?];
    if (socket !== undefined && response.statusCode === 200) return socket;
    socket?.destroy();
    throw new Error(`answers HTTP ${response.statusCode}`);
  } catch (cause) {
    asked.destroy();
    const words = cause instanceof Error && cause.message !== "" ? cause.message : "cannot be reached";
    const fact = signal.aborted ? "no answer within the deadline" : words;
    throw Object.assign(new Error(`the proxy ${proxy}: ${fact}`, { cause }), { code: "PROXY_REFUSED" });
  }
}
