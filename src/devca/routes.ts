import type { IncomingHttpHeaders } from "node:http";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { type Draft, signCertificate } from "./authority.ts";
import { distort, distortChain } from "./faults.ts";
import { readCsr, renewedLeaf } from "./leaf.ts";
import { badRequest, Rejection, rejectionBody } from "./rejection.ts";
import { authorizeRenewal, certificateOfBearer } from "./renewal.ts";
import { authorizeSign } from "./sign.ts";
import type { CaState } from "./state.ts";

export interface CaRequest {
  readonly method: string;
  /** Without the prefix `/1.0`. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** The client certificate, checked by the TLS layer, as DER. */
  readonly clientCertificate: Uint8Array | undefined;
}

export interface CaAnswer {
  readonly status: number;
  readonly type: string;
  readonly body: string;
  /** What only the CA's log says. */
  readonly reason?: string;
}

type Handler = (state: CaState, request: CaRequest) => Promise<CaAnswer> | CaAnswer;

const ROUTES: Readonly<Record<string, Handler>> = {
  "GET /health": () => json(200, { status: "ok" }),
  "GET /version": () => json(200, { version: "0.30.2" }),
  "GET /roots": ({ roots }) => json(201, { crts: roots.map(({ certificate }) => certificate.pem) }),
  "GET /federation": ({ roots }) => json(201, { crts: roots.map(({ certificate }) => certificate.pem) }),
  "GET /intermediates": ({ intermediate }) => json(201, { crts: [intermediate.certificate.pem] }),
  "GET /provisioners": ({ provisioners }) =>
    json(200, { provisioners: [...provisioners.values()].map(shown), nextCursor: "" }),
  "POST /sign": async (state, request) => await issue(state, await authorizeSign(state, objectOf(request.body))),
  "POST /renew": async (state, request) => {
    const old = await renewedCertificate(state, request);
    return await issue(state, await renewedLeaf(old, authorizeRenewal(state, old)));
  },
  "POST /rekey": async (state, { clientCertificate, body }) => {
    if (clientCertificate === undefined) throw badRequest("missing client certificate");
    const old = parseCertificate(clientCertificate);
    const csr = await readCsr(objectOf(body)["csr"]);
    return await issue(state, await renewedLeaf(old, authorizeRenewal(state, old), csr));
  },
};

/** What this CA, without faults in its transport, answers. */
export async function answer(state: CaState, request: CaRequest): Promise<CaAnswer> {
  const { method, path } = request;
  const handler =
    ROUTES[`${method} ${path}`] ?? (method === "GET" && path.startsWith("/root/") ? rootByFingerprint : undefined);
  if (handler === undefined) {
    const known = Object.keys(ROUTES).some((route) => route.endsWith(` ${path}`));
    return known
      ? { status: 405, type: "", body: "" }
      : { status: 404, type: "text/plain", body: "404 page not found\n" };
  }
  try {
    return await handler(state, request);
  } catch (error) {
    const rejection = error instanceof Rejection ? error : new Rejection(500, String(error));
    return {
      status: rejection.status,
      type: JSON_TYPE,
      body: `${rejectionBody(rejection)}\n`,
      reason: rejection.message,
    };
  }
}

const JSON_TYPE = "application/json";

function json(status: number, value: unknown): CaAnswer {
  return { status, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` };
}

function objectOf(body: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body);
    if (typeof value === "object" && value !== null) return value as Record<string, unknown>;
  } catch {
    // Said below.
  }
  throw badRequest("error decoding json");
}

function rootByFingerprint({ roots }: CaState, { path }: CaRequest): CaAnswer {
  const wanted = path.slice("/root/".length).replaceAll("-", "").toLowerCase();
  const root = roots.find(({ certificate }) => certificate.fingerprint === wanted);
  if (root !== undefined) return json(200, { ca: root.certificate.pem });
  const text = `root certificate with fingerprint "${wanted}" was not found`;
  throw new Rejection(404, text, text);
}

function shown({ name, publicJwk, encryptedKey }: { name: string; publicJwk: unknown; encryptedKey: string }): unknown {
  return { type: "JWK", name, key: publicJwk, encryptedKey };
}

/** By TLS, else by the token; if both are there the certificate wins. */
async function renewedCertificate(state: CaState, { headers, clientCertificate }: CaRequest): Promise<Certificate> {
  if (clientCertificate !== undefined) return parseCertificate(clientCertificate);
  const token = /^Bearer (.+)$/.exec(headers.authorization ?? "")?.[1];
  if (token === undefined) throw badRequest("missing client certificate");
  return await certificateOfBearer(state, token);
}

async function issue(state: CaState, draft: Draft): Promise<CaAnswer> {
  const { faults, intermediate, roots, stranger } = state;
  if (faults.leaf === "same-again" && state.lastIssued !== undefined) {
    return { status: 201, type: JSON_TYPE, body: state.lastIssued };
  }
  const leaf = await signCertificate(intermediate, await distort(draft, faults.leaf, state.now()));
  const chain = distortChain(leaf, intermediate, roots[0], stranger, faults.chain);
  const tlsOptions = { minVersion: 1.2, maxVersion: 1.3, renegotiation: false };
  const issued = json(201, { crt: chain[0], ca: chain[1] ?? null, certChain: chain, tlsOptions });
  state.lastIssued = issued.body;
  return issued;
}
