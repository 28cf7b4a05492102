import * as z from "zod";
import { DURATION_PATTERN, parseDuration } from "../../base/duration.ts";
import { HOUR, SECOND } from "../../base/time.ts";

/** `https://host[:port]` and nothing more, since the audience of a token is made of it. */
export const origin = z
  .string()
  .meta({ pattern: "^[Hh][Tt][Tt][Pp][Ss]://[^/@?#\\s]+/?$" })
  .transform((text, context) => {
    const complaint = complaintAboutOrigin(text);
    if (complaint === undefined) return spelledOrigin(text);
    context.addIssue({ code: "custom", message: complaint, input: text });
    return z.NEVER;
  })
  .meta({
    description: "Where the CA listens, https only; the host as the CA's `dnsNames` spell it",
    examples: ["https://ca.internal:9000"],
  });

/** With the capitals that the host was written with: step-ca compares the audience of tokens with its `dnsNames` letter by letter. */
function spelledOrigin(text: string): string {
  const { origin, host } = new URL(text);
  const [, written = ""] = /\/\/([^/]+)/.exec(text) ?? [];
  return written.toLowerCase() === host ? `https://${written}` : origin;
}

function complaintAboutOrigin(text: string): string | undefined {
  if (text.includes("@")) return "a CA's URL carries no user or password";
  // URL passes over spaces around it and further slashes, which are slips.
  if (!/^[^/\s]+:\/\/[^/\s]\S*$/.test(text) || !URL.canParse(text))
    return `${JSON.stringify(text)} is no URL; write https://HOST:PORT`;
  const url = new URL(text);
  if (url.protocol !== "https:") return `a CA is spoken to over https only, not ${url.protocol.slice(0, -1)}`;
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "")
    return "a CA's URL has no path; write https://HOST:PORT";
  return url.port === "0" ? "nobody listens at port 0; write https://HOST:PORT" : undefined;
}

const proxy = z
  .string()
  .transform((text, context) => {
    const url = URL.canParse(text) ? new URL(text) : undefined;
    const plain = url?.protocol === "http:" && url.username === "" && url.password === "" && url.pathname === "/";
    if (plain) return url.origin;
    context.addIssue({
      code: "custom",
      message: "a proxy is written http://HOST:PORT, without a user or a path",
      input: text,
    });
    return z.NEVER;
  })
  .meta({ description: "An HTTP proxy to tunnel through; those in the environment are never used" });

const timeout = z
  .string("write a duration with its unit, an hour at most: 30s")
  .meta({ pattern: DURATION_PATTERN })
  .default("30s")
  .transform((text, context) => {
    const span = parseDuration(text);
    if (span !== undefined && span <= HOUR) return span;
    const message = `${JSON.stringify(text)} is no duration of an hour at most; write 30s`;
    context.addIssue({ code: "custom", message, input: text });
    return z.NEVER;
  })
  .meta({ description: "How long one request may take in all, an hour at most; connecting may take 10 s of it" });

/** SHA-256 as `step` and OpenSSL print it, with colons or without; 64 lower-case hex digits. */
export const fingerprint = z
  .string()
  .meta({ pattern: "^[-:]*([0-9A-Fa-f][-:]*){64}$" })
  .transform((text) => text.replace(/[-:]/g, "").toLowerCase())
  .refine((text) => /^[0-9a-f]{64}$/.test(text), { error: "must be a SHA-256 fingerprint of 64 hex digits" });

const absolutePath = z.string().regex(/^\/[^\0]*$/, { error: "must be an absolute path" });

const root = z
  .strictObject({
    file: absolutePath.optional().meta({ description: "The trust anchors for this CA, PEM; never the system's pool" }),
    fingerprint: fingerprint.optional().meta({
      description: "SHA-256 of the root; while the file is missing, the root is fetched and checked against it",
    }),
  })
  .refine(({ file, fingerprint }) => file !== undefined || fingerprint !== undefined, {
    error: "needs a file, a fingerprint, or both",
  })
  .meta({ description: "What this CA is trusted by" });

/** Where a secret is looked for, at each need. */
export type SecretSource =
  | { readonly file: string; readonly deleteAfterUse: boolean }
  | { readonly credential: string };

const secret = z
  .strictObject({
    file: absolutePath.optional().meta({ description: "The file with the secret; it may appear later" }),
    delete_after_use: z
      .boolean()
      .optional()
      .meta({ description: "Delete the file as soon as the first attempt with it has ended, however it ended" }),
    credential: z
      .string()
      .regex(/^(?!\.{1,2}$)[A-Za-z0-9_.-]{1,255}$/, { error: "must be a credential's name: letters, digits and _.-" })
      .optional()
      .meta({ description: "The name of a credential of the unit: $CREDENTIALS_DIRECTORY/NAME" }),
  })
  .transform(({ file, credential, delete_after_use: deleteAfterUse }, context): SecretSource => {
    if (file !== undefined && credential === undefined) return { file, deleteAfterUse: deleteAfterUse ?? false };
    if (file === undefined && credential !== undefined && deleteAfterUse === undefined) return { credential };
    const both = (file === undefined) === (credential === undefined);
    const message = both
      ? "needs exactly one of: file, credential"
      : "a credential is systemd's and cannot be deleted; delete_after_use goes with file";
    context.addIssue({ code: "custom", message, path: both ? [] : ["delete_after_use"] });
    return z.NEVER;
  });

const SECRET_KINDS = ["password", "token", "key"] as const;
export type SecretKind = (typeof SECRET_KINDS)[number];

const jwk = z
  .strictObject({
    type: z.literal("jwk").meta({ description: "A provisioner with a key of its own" }),
    name: z.string().min(1).meta({ description: "The provisioner's name at the CA, exactly" }),
    password: secret.optional().meta({ description: "Opens the provisioner's key, which the CA hands out encrypted" }),
    token: secret.optional().meta({ description: "A one-time token that was made elsewhere (`step ca token`)" }),
    key: secret.optional().meta({ description: "The provisioner's private key, a JWK in JSON" }),
  })
  .transform((value, context) => {
    const given = SECRET_KINDS.flatMap((kind) => {
      const source = value[kind];
      return source === undefined ? [] : [{ kind, source }];
    });
    if (given.length === 1 && given[0] !== undefined) return { type: value.type, name: value.name, secret: given[0] };
    const found = given.length === 0 ? "" : `, not ${given.map(({ kind }) => kind).join(" and ")}`;
    context.addIssue({ code: "custom", message: `needs exactly one of: password, token, key${found}` });
    return z.NEVER;
  });

const provisioner = z
  .discriminatedUnion("type", [jwk])
  .meta({ description: "The authority at the CA that lets this host have its first certificate" });

/** One entry `type: step-ca` of `issuers:` as operators write it, and what it means. */
export const stepCaConfig = z
  .strictObject({
    type: z.literal("step-ca").meta({ description: "Smallstep step-ca" }),
    url: origin.optional(),
    urls: z
      .array(origin)
      .min(1)
      .max(8)
      .optional()
      .meta({ description: "Several addresses of the same CA, tried in order; instead of `url`" }),
    root,
    provisioner,
    proxy: proxy.optional(),
    timeout,
  })
  .transform(({ url, urls, ...rest }, context) => {
    if (url !== undefined && urls === undefined) return { ...rest, urls: [url] };
    if (url === undefined && urls !== undefined) return { ...rest, urls };
    context.addIssue({ code: "custom", message: "needs exactly one of: url, urls" });
    return z.NEVER;
  })
  .meta({ description: "A step-ca: first by a provisioner's secret, then renewed over mTLS" });

export type StepCaConfig = z.output<typeof stepCaConfig>;

/** How long a connection, TLS included, may take to stand. */
export const CONNECT_TIMEOUT = 10 * SECOND;
