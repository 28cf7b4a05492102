/** What the agent asks of the root side where that is another process: a file each, whose name is the request. */
import { randomBytes } from "node:crypto";
import { unlink } from "node:fs/promises";
import { join } from "node:path";
import { stage } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import { openFolder } from "../base/folder.ts";

/** All that can be asked. Two that ask the same ask once, as a folder has a name but once. */
export type Request =
  | { readonly kind: "observe" }
  /** `look`: of one spec what `observe` tells of all, however long that takes. */
  | { readonly kind: "look" | "adopt" | "failed"; readonly spec: string }
  /** `again`: services, by their index in the spec, that took the newest generation and do not serve it. */
  | { readonly kind: "apply"; readonly spec: string; readonly again: readonly number[] }
  | { readonly kind: "forget"; readonly issuer: string };

/** What a request is recognized by in its report: fresh for each asking. */
export const TOKEN = /^[0-9a-f]{1,64}$/;
/** More than a request takes. */
export const LARGEST_REQUEST = 128;
/** What is in a request's file: its token, and which services are meant, where it can tell of such. */
const CONTENT = /^(?<token>[0-9a-f]{1,64})(?<again>(?: \d{1,2}){0,20})$/;

/** Names of specs and issuers that fit, with what is put before and behind them, into the name of a file. */
const NAME = /^(?!\.)[A-Za-z0-9._-]{1,240}$/;

/** The name of a request's file: `observe`, `apply@web`. Throws `APPLY_UNREACHABLE` for a name that cannot be asked for. */
export function requestName(request: Request): string {
  if (request.kind === "observe") return request.kind;
  const about = request.kind === "forget" ? request.issuer : request.spec;
  if (NAME.test(about)) return `${request.kind}@${about}`;
  throw new AgentError("APPLY_UNREACHABLE", `Cannot ask about "${about}": its name is too long for a request`, {
    hint: "give it a shorter name",
  });
}

/** What a file of that name asks for; undefined where it is no request. */
export function requestNamed(name: string): Request | undefined {
  if (name === "observe") return { kind: name };
  const [, kind, about = ""] = /^(look|adopt|apply|failed|forget)@(.*)$/s.exec(name) ?? [];
  if (!NAME.test(about)) return undefined;
  if (kind === "forget") return { kind, issuer: about };
  if (kind === "apply") return { kind, spec: about, again: [] };
  return kind === "look" || kind === "adopt" || kind === "failed" ? { kind, spec: about } : undefined;
}

/** The request of that name with what its file holds; undefined where that is no request's. */
export function requestIn(request: Request, content: string): { request: Request; token: string } | undefined {
  const { token, again = "" } = CONTENT.exec(content)?.groups ?? {};
  if (token === undefined) return undefined;
  if (request.kind !== "apply") return again === "" ? { request, token } : undefined;
  return { request: { ...request, again: again.split(" ").slice(1).map(Number) }, token };
}

/** Asks; answers with the token that the report will have. One that was not taken yet is replaced. Throws `DEPLOY_FAILED`. */
export async function writeRequest(folder: string, request: Request): Promise<string> {
  const name = requestName(request);
  const token = randomBytes(16).toString("hex");
  // More are not told of one by one: those that wait are told, and the others the next time.
  const again = request.kind === "apply" ? request.again.filter((index) => index < 100).slice(0, 20) : [];
  await using held = await openFolder(folder);
  await using staged = await stage(held, name, Buffer.from([token, ...again].join(" ")), { mode: 0o600 });
  await staged.publish().catch((error: unknown) => {
    if (!staged.published()) throw error; // else it was taken at once, before it could be looked at
  });
  return token;
}

/** Takes a request back, where it was not taken yet. */
export async function withdrawRequest(folder: string, name: string): Promise<void> {
  await unlink(join(folder, name)).catch(() => {}); // it was taken: then it is served, and nobody reads the report
}
