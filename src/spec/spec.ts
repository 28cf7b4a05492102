import * as z from "zod";
import { nearest } from "../base/nearest.ts";
import { MINUTE, type Milliseconds } from "../base/time.ts";
import type { CertificateRequest, Desired, Output } from "../core/ports.ts";
import { serviceSchema } from "../services/index.ts";
import { USAGES } from "../x509/certificate.ts";
import { KEY_ALGORITHMS } from "../x509/key.ts";
import { type Name, parseName, sortNames } from "../x509/name.ts";
import { type Complaint, judge, problemsOf } from "./complain.ts";
import { expects, listOf, quoted, show, textOf, withHint } from "./describe.ts";
import { argv, duration, writeDuration } from "./fields.ts";
import { type Host, unknownIssuer } from "./host.ts";
import { outputSchema } from "./output.ts";
import type { Problem } from "./problem.ts";
import type { Position, Source } from "./source.ts";

/** X.520 gives a common name 64 characters, and OpenSSL holds everybody to it. */
const LONGEST_SUBJECT = 64;

/** URIs, IPv6 and email addresses have a colon or an @; all else is labels, the first of which may be a `*`. IDNA has four dots. */
const NAME_PATTERN =
  "^(?!\\[|([Dd][Nn][Ss]|[Ii][Pp]|[Uu][Rr][Ii]|[Ee][Mm][Aa][Ii][Ll]|[Mm][Aa][Ii][Ll][Tt][Oo]):(?!//))" +
  "(\\S*:\\S*|\\S*@\\S*[^\\s.]|(\\*\\.(?=\\$\\{|[^.]+[.\u3002\uff0e\uff61]))?(?!-)[^\\s.*]*[^\\s.*-](\\.(?!-)[^\\s.*]*[^\\s.*-])*)$";

const name = z
  .string({ error: expects("a name", quoted) })
  .meta({ pattern: NAME_PATTERN })
  .transform((text, context): Name => {
    const parsed = parseName(text);
    if (parsed !== undefined) return parsed;
    const message = `must be a DNS name, IP address, URI or email address, not ${show(text)}`;
    context.addIssue(withHint(message, nameHint(text)));
    return z.NEVER;
  });

function nameHint(text: string): string | undefined {
  if (text.endsWith(".")) return "leave the last dot out";
  if (/^\*\.[^.*]+$/.test(text)) return 'a wildcard needs at least two labels after it: "*.example.com"';
  if (text.includes("*")) return 'a wildcard is the whole first label: "*.example.com"';
  if (/^[^:/\s]+:\d+$/.test(text)) return "a port is no part of a name";
  const prefix = /^(dns|ip|uri|email|mailto):/i.exec(text)?.[0];
  if (prefix !== undefined) return `leave ${prefix} out: what it is shows`;
  if (/^\[[^\]]*\]/.test(text)) return "write an IPv6 address without brackets, and without a port";
  if (/[\u2010-\u2015\u2018-\u201f]/.test(text)) return "use plain quotes and hyphens, not a word processor's";
  if (/^[^\s/]+\/\d+$/.test(text)) return "a network cannot be in a certificate, only single addresses";
  if (/[\s,]/.test(text)) return "one entry is one name";
  return undefined;
}

function keyHint(input: unknown): string {
  const [first, ...others] = KEY_ALGORITHMS;
  const meant = nearest(textOf(input), KEY_ALGORITHMS);
  return meant === undefined ? `write { type: ${first} }, or one of ${others.join(", ")}` : `write { type: ${meant} }`;
}

/** One spec: what is wanted of one certificate. */
export const specSchema = z
  .strictObject({
    subject: z
      .string()
      .regex(/^\S(.*\S)?$/, { error: expects("a name without spaces around it") })
      .max(LONGEST_SUBJECT, {
        error: `must have at most ${LONGEST_SUBJECT} characters, as a common name\nlist the long name in sans, and choose a shorter subject`,
      })
      .meta({ description: "The certificate's common name.", examples: ["web.internal"] }),
    sans: z
      .array(name, {
        error: expects("a list of names", (input) =>
          typeof input === "string"
            ? `write ${listOf(input.split(/[\s,;]+/).filter((text) => text !== ""))}`
            : undefined,
        ),
      })
      .min(1)
      .optional()
      .meta({
        description:
          "The names that it is for: DNS names, `*.` wildcards, IP addresses, URIs, email addresses. Default: the subject.",
        examples: [["web.internal", "10.0.0.20"]],
      }),
    lifetime: duration
      .optional()
      .meta({ description: "How long it is asked to live. Default: what the issuer gives.", examples: ["24h"] }),
    usages: z
      .array(z.enum(USAGES), { error: expects("a list", () => "write [server], [client] or [server, client]") })
      .min(1)
      .optional()
      .meta({ description: "What it is for. Default: server and client." }),
    key: z
      .strictObject(
        {
          type: z.enum(KEY_ALGORITHMS).optional().meta({ description: "Default: ec-p256; an adopted key is kept." }),
          rotate: z
            .boolean()
            .optional()
            .meta({ description: "A new key at each renewal, if the CA certifies one for it. Default: false." }),
        },
        {
          error: expects("a map of keys", keyHint),
        },
      )
      .optional()
      .meta({ description: "The private key." }),
    issuer: z.string().optional().meta({ description: "A name of certagent.yaml. Default: its `default_issuer`." }),
    renew: z
      .strictObject(
        { before: duration.meta({ description: "Renew at the latest with this much left.", examples: ["8h"] }) },
        {
          error: expects(
            "a map of keys",
            (input) => `write { before: ${duration.safeParse(input).success ? textOf(input) : "8h"} }`,
          ),
        },
      )
      .optional()
      .meta({ description: "When to renew. Default: between 1/2 and 2/3 of the lifetime, which is never exceeded." }),
    layout: z.enum(["files", "link"]).optional().meta({
      description: "`files`: plain files. `link`: symbolic links that one rename switches together. Default: files.",
    }),
    outputs: z.array(outputSchema).min(1).meta({ description: "The files that are wanted." }),
    services: z.array(serviceSchema).optional().meta({
      description: "Who has to take the new certificate, and how that is proven. Default: none.",
    }),
    hooks: z
      .strictObject({
        before: argv.optional().meta({ description: "Before a change of files; a failure stops it." }),
        after: argv.optional().meta({ description: "Once after a change of files." }),
        failed: argv.optional().meta({ description: "Once for a streak of failures." }),
      })
      .optional()
      .meta({ description: "Commands around a change: argv lists, never a shell." }),
  })
  .meta({ title: "certagent spec", description: "What is wanted of one certificate on this host." });

type SpecData = z.output<typeof specSchema>;

export interface SpecResult {
  /** Undefined where there are problems. */
  readonly desired: Desired | undefined;
  readonly problems: readonly Problem[];
  /** What is allowed and still looks like a slip. */
  readonly warnings: readonly Problem[];
  /** Where the path of each output stands, for what can only be judged beside other specs. */
  readonly places: readonly Position[];
}

/** The spec `name`. Without a host configuration the issuer is not judged. Never throws. */
export function specFrom(
  source: Source,
  context: { name: string; digest: string; host: Host | undefined },
): SpecResult {
  const { name: specName, digest, host } = context;
  const result = judge(specSchema, source.data);
  const data = "value" in result ? result.value : undefined;
  const found = "value" in result ? [] : result.complaints;
  // The issuer is judged beside a broken rest, so that one look at the complaints is enough.
  const complaints = [
    ...found,
    ...issuerComplaints(source.data, host),
    ...(data === undefined ? [] : [...dataComplaints(data), ...rootComplaints(data, host)]),
  ];
  const problems = problemsOf(source, complaints);
  if (data === undefined || problems.length > 0) return { desired: undefined, problems, warnings: [], places: [] };
  const desired = toDesired(data, {
    name: specName,
    file: source.file,
    digest,
    issuer: data.issuer ?? host?.defaultIssuer ?? "",
  });
  const places = data.outputs.map((_, index) => source.valueAt(["outputs", index, "path"]));
  return { desired, problems, warnings: problemsOf(source, warningsAbout(data)), places };
}

function issuerComplaints(data: unknown, host: Host | undefined): readonly Complaint[] {
  if (host === undefined || typeof data !== "object" || data === null || Array.isArray(data)) return [];
  const own = "issuer" in data ? data.issuer : undefined;
  const issuer = own ?? host.defaultIssuer;
  const path = ["issuer"];
  const known = [...host.issuers.keys(), ...host.unusable.keys()];
  if (issuer === null) {
    const hint = `write issuer: ${known[0] ?? "NAME"}, or default_issuer: in ${host.file}`;
    return [{ path, message: "issuer is missing, and there is no default_issuer", hint }];
  }
  if (typeof issuer !== "string" || host.issuers.has(issuer)) return [];
  const reason = host.unusable.get(issuer);
  if (reason !== undefined)
    return [{ path, message: `issuer ${issuer} cannot be used: ${reason}`, hint: `see ${host.file}` }];
  if (own === undefined) {
    return [{ path, message: `the default issuer ${show(issuer)} does not exist`, hint: `see ${host.file}` }];
  }
  return [{ path, ...unknownIssuer(issuer, known) }];
}

function dataComplaints(data: SpecData): readonly Complaint[] {
  return [...subjectComplaints(data), ...renewComplaints(data), ...pathComplaints(data.outputs)];
}

/** Without `sans` the subject is the only name, and has to be one. */
function subjectComplaints({ subject, sans }: SpecData): readonly Complaint[] {
  if (sans !== undefined || parseName(subject) !== undefined) return [];
  const message = `subject must be a DNS name, IP address, URI or email address where there are no sans, not ${show(subject)}`;
  return [
    { path: ["subject"], message, hint: nameHint(subject) ?? "add sans: with the names that the certificate is for" },
  ];
}

/** A sixth of the lifetime has to pass: what renews faster than that is held by the storm breaker. */
function renewComplaints({ lifetime, renew }: SpecData): readonly Complaint[] {
  if (lifetime === undefined || renew === undefined || renew.before <= (lifetime * 5) / 6) return [];
  const message = `renew.before must leave at least a sixth of the lifetime, which is ${writeDuration(lifetime)}`;
  const most: Milliseconds = Math.floor((lifetime * 2) / 3);
  return [{ path: ["renew", "before"], message, hint: `write before: ${writeDuration(most)}, or less` }];
}

function pathComplaints(outputs: readonly Output[]): readonly Complaint[] {
  return outputs.flatMap(({ path }, index) => {
    const at = ["outputs", index, "path"];
    const first = outputs.findIndex((other) => other.path === path);
    if (first !== index) return [{ path: at, message: `outputs[${first}] has this path already: ${path}` }];
    const above = outputs.findIndex((other) => path.startsWith(`${other.path}/`));
    if (above < 0) return [];
    return [{ path: at, message: `path leads through outputs[${above}], which is a file: ${outputs[above]?.path}` }];
  });
}

/** The file that an issuer is trusted by, for all specs of the host: only trust anchors may be written there. */
function rootComplaints({ outputs }: SpecData, host: Host | undefined): readonly Complaint[] {
  const issuers = [...(host?.issuers ?? [])];
  return outputs.flatMap(({ path, format }, index) => {
    const [name] = issuers.find(([, { root }]) => root.file === path) ?? [];
    if (name === undefined || format.holdsAnchors === true) return [];
    const message = `${path} is the root file of issuer ${name}, by which it is trusted for all specs`;
    return [{ path: ["outputs", index, "path"], message, hint: "name another path" }];
  });
}

const HOLDS_LEAF = new Set(["certificate", "fullchain", "combined", "pkcs12"]);

/** step-ca gives nothing shorter unless it is told to, and dates a certificate a minute back. */
const SHORT_LIFETIME = 5 * MINUTE;

function warningsAbout({ outputs, lifetime }: SpecData): readonly Complaint[] {
  const short: readonly Complaint[] =
    lifetime === undefined || lifetime >= SHORT_LIFETIME
      ? []
      : [
          {
            path: ["lifetime"],
            message: "lifetime is under 5m, which a step-ca refuses unless it is configured for it",
          },
        ];
  return [...short, ...outputWarnings(outputs)];
}

function outputWarnings(outputs: SpecData["outputs"]): readonly Complaint[] {
  const hasKey = outputs.some(({ format }) => format.holdsKey);
  const hasLeaf = outputs.some(({ format }) => HOLDS_LEAF.has(format.name));
  if (hasKey && hasLeaf) return [];
  const lacks = hasLeaf ? ["private key", "key"] : ["certificate", "fullchain"];
  const message = `no output holds the ${lacks[0]}: no server can use the others`;
  return [{ path: ["outputs"], message, hint: `add { format: ${lacks[1]}, path: … }` }];
}

function toDesired(data: SpecData, about: { name: string; file: string; digest: string; issuer: string }): Desired {
  const { issuer, ...identity } = about;
  const hooks = data.hooks ?? {};
  return {
    ...identity,
    request: requestOf(data, issuer),
    rotate: data.key?.rotate ?? false,
    renewBefore: data.renew?.before ?? null,
    layout: data.layout ?? "files",
    outputs: data.outputs,
    services: data.services ?? [],
    hooks: { before: hooks.before ?? null, after: hooks.after ?? null, failed: hooks.failed ?? null },
  };
}

function requestOf({ subject, sans, usages, lifetime, key }: SpecData, issuer: string): CertificateRequest {
  const own = parseName(subject);
  return {
    issuer,
    subject,
    names: sortNames(sans ?? (own === undefined ? [] : [own])),
    usages: usages === undefined ? USAGES : USAGES.filter((usage) => usages.includes(usage)),
    lifetime: lifetime ?? null,
    key: key?.type ?? null,
  };
}
