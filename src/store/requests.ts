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
  | { readonly kind: "adopt" | "apply" | "failed"; readonly spec: string }
  | { readonly kind: "forget"; readonly issuer: string };

/** What a request is recognized by in its report: fresh for each asking. */
export const TOKEN = /^[0-9a-f]{1,64}$/;
/** More than a request takes. */
export const LARGEST_REQUEST = 128;

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
  const [, kind, about = ""] = /^(adopt|apply|failed|forget)@(.*)$/s.exec(name) ?? [];
  if (!NAME.test(about)) return undefined;
  if (kind === "forget") return { kind, issuer: about };
  return kind === "adopt" || kind === "apply" || kind === "failed" ? { kind, spec: about } : undefined;
}

/** Asks; answers with the token that the report will have. One that was not taken yet is replaced. Throws `DEPLOY_FAILED`. */
export async function writeRequest(folder: string, name: string): Promise<string> {
  const token = randomBytes(16).toString("hex");
  await using held = await openFolder(folder);
  await using staged = await stage(held, name, Buffer.from(token), { mode: 0o600 });
  await staged.publish().catch((error: unknown) => {
    if (!staged.published()) throw error; // else it was taken at once, before it could be looked at
  });
  return token;
}

/** Takes a request back, where it was not taken yet. */
export async function withdrawRequest(folder: string, name: string): Promise<void> {
  await unlink(join(folder, name)).catch(() => {}); // it was taken: then it is served, and nobody reads the report
}
