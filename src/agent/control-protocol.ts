/**
 * What goes over the control socket: one connection is one request, a line of JSON, and its answer: lines of JSON, any
 * number of `progress`, then one `result` or `error`. Both ends check what they read.
 */
import { join } from "node:path";
import * as z from "zod";
import { AgentError, CODES, type Failure } from "../base/errors.ts";
import { OUTPUT_STATES } from "../core/applier.ts";
import {
  APPLY_MODES,
  type CertificateStatus,
  type PlanDocument,
  type RenewOutcome,
  STATES,
  type StatusDocument,
} from "../core/status-document.ts";

/** In bytes. A request names at most all specs of a host. */
export const LONGEST_REQUEST = 64 * 1024;
/** In bytes, all lines of an answer together: a certificate's status is about 1.5 KiB. */
export const LONGEST_ANSWER = 16 * 1024 * 1024;

const LONGEST_SOCKET_PATH = 107;

/** The socket in the control folder. Throws `USAGE` where its path is longer than the kernel takes. */
export function controlSocket(folder: string): string {
  const path = join(folder, "agent.sock");
  if (Buffer.byteLength(path) <= LONGEST_SOCKET_PATH) return path;
  throw new AgentError("USAGE", `Cannot use "${path}": a socket's path has at most ${LONGEST_SOCKET_PATH} bytes`, {
    hint: "choose a shorter folder with --runtime",
  });
}

const askedName = z.string().max(255, { error: "the name of a spec has at most 255 characters" });
/** Each once, however often it is named: an answer must not be longer than all that there is to tell. */
const names = z.array(askedName).overwrite((all) => [...new Set(all)]);

export const ControlRequest = z.discriminatedUnion("command", [
  z.strictObject({ command: z.literal("status"), names }),
  z.strictObject({ command: z.literal("plan"), names }),
  z.strictObject({ command: z.literal("renew"), names: z.union([z.literal("all"), names.min(1)]) }),
]);
export type ControlRequest = z.infer<typeof ControlRequest>;

/** What is told of a renewal while it is under way. */
export interface RenewProgress {
  readonly name: string;
  readonly message: string;
}

/** One line of an answer, before its result is known to be what was asked for. */
export type ControlLine =
  | { readonly progress: RenewProgress }
  | { readonly result: unknown }
  | { readonly error: Failure };

const text = z.string();
/** Of a spec, or of an action: they stand in the columns of tables, each as wide as the longest. */
const name = z.string().max(255);
const code = z.enum(CODES);
const state = z.enum(STATES);

export const ControlLine: z.ZodType<ControlLine> = z.union([
  z.strictObject({ progress: z.looseObject({ name, message: text }) }),
  z.strictObject({
    error: z.looseObject({ code, message: text, hint: text.nullable(), retryAt: z.number().nullable() }),
  }),
  z.strictObject({ result: z.unknown() }),
]);

// Objects are loose: an agent that is newer than the command may tell more, and `--json` shows that too.
const certificate: z.ZodType<CertificateStatus> = z.looseObject({
  name,
  spec: text,
  issuer: text.nullable(),
  subject: text.nullable(),
  sans: z.array(text),
  state,
  because: text,
  leaf: z
    .looseObject({
      generation: z.number(),
      fingerprint: text,
      serial: text,
      key: text,
      not_before: text,
      not_after: text,
    })
    .nullable(),
  next: z.looseObject({ action: name, at: text, because: text }).nullable(),
  outputs: z.array(
    z.looseObject({
      path: text,
      format: text,
      state: z.enum(OUTPUT_STATES),
    }),
  ),
  services: z.array(
    z.looseObject({
      type: text,
      state: z.enum(["proven", "unproven"]),
      at: text.nullable(),
      address: text.nullable(),
      fingerprint: text.nullable(),
    }),
  ),
  failure: z
    .looseObject({
      code,
      message: text,
      hint: text.nullable(),
      since: text,
      attempts: z.number(),
      retry_at: text.nullable(),
    })
    .nullable(),
});

export const StatusAnswer: z.ZodType<StatusDocument> = z.looseObject({
  agent: z.looseObject({
    running: z.boolean(),
    pid: z.number().nullable(),
    version: text,
    since: text.nullable(),
    apply: z.enum(APPLY_MODES).nullable(),
  }),
  problems: z.array(text).optional(),
  certificates: z.array(certificate),
});

export const PlanAnswer: z.ZodType<PlanDocument> = z.looseObject({
  certificates: z.array(
    z.looseObject({ name, action: name, because: text, at: text.nullable(), steps: z.array(text) }),
  ),
});

export const RenewAnswer: z.ZodType<readonly RenewOutcome[]> = z.array(
  z.looseObject({
    name,
    ok: z.boolean(),
    renewed: z.boolean().optional(),
    state,
    message: text,
    hint: text.nullable(),
  }),
);
