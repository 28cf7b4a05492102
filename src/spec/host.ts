import * as z from "zod";
import { nearest } from "../base/nearest.ts";
import { type IssuerConfig, issuerSchema } from "../issuers/index.ts";
import { type Complaint, judge, problemsOf } from "./complain.ts";
import { expects, NAME_RULE, quoted, show, withHint } from "./describe.ts";
import { writablePath } from "./fields.ts";
import type { Problem } from "./problem.ts";
import type { Source } from "./source.ts";

const ISSUER_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

const LISTEN = 'write "127.0.0.1:9469" or "[::1]:9469"';

const ADDRESS = /^(?:\[([0-9A-Fa-f:]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/;

const listen = z
  .string({ error: expects("an address and a port", () => LISTEN) })
  .meta({ pattern: ADDRESS.source })
  .transform((text, context) => {
    const [, six, name, port] = ADDRESS.exec(text) ?? [];
    const host = six ?? name;
    if (host !== undefined && Number(port) >= 1 && Number(port) <= 65_535) return { host, port: Number(port) };
    context.addIssue(withHint(`must be an address and a port, not ${show(text)}`, LISTEN));
    return z.NEVER;
  });

const issuerName = z
  .string({ error: expects("a name", (input) => (typeof input === "string" ? NAME_RULE : quoted(input))) })
  .regex(ISSUER_NAME);

/** certagent.yaml: what is the same for all specs of a host. */
export const hostSchema = z
  .strictObject({
    issuers: z
      .record(issuerName, issuerSchema, { error: expects("a map of names to issuers") })
      .meta({ description: "The CAs that certificates can be had from, by a name of your choice." }),
    default_issuer: issuerName.optional().meta({ description: "The issuer of every spec that names none." }),
    metrics: z
      .strictObject({
        listen: listen
          .optional()
          .meta({ description: "Where Prometheus may scrape /metrics.", examples: ["127.0.0.1:9469"] }),
        textfile: writablePath.optional().meta({ description: "A file for node_exporter's textfile collector." }),
      })
      .optional()
      .meta({
        description: "How certagent tells about itself. This version has no metrics yet: it only judges these keys.",
      }),
  })
  .meta({ title: "certagent.yaml", description: "The host configuration of certagent." });

type HostData = z.output<typeof hostSchema>;

/** The host configuration, parsed, with what may be used of it. */
export interface Host {
  readonly file: string;
  /** SHA-256 of the text, lower-case hex. */
  readonly digest: string;
  readonly issuers: ReadonlyMap<string, IssuerConfig>;
  /** Issuers that stand in it and cannot be used, with the reason: specs that name them are refused with it. */
  readonly unusable: ReadonlyMap<string, string>;
  readonly defaultIssuer: string | null;
  readonly metrics: {
    readonly listen: { readonly host: string; readonly port: number } | null;
    readonly textfile: string | null;
  };
}

export interface HostResult {
  /** Undefined where nothing of it can be used. A broken issuer costs only the specs that use it. */
  readonly host: Host | undefined;
  readonly problems: readonly Problem[];
  /** What does not keep it from being taken. */
  readonly warnings: readonly Problem[];
  /** Whether all problems are issuers of a kind that this version does not have: nobody's slip. */
  readonly isSound: boolean;
}

/** A host configuration; `digest` is that of its text. Never throws. */
export function hostFrom(source: Source, digest: string): HostResult {
  const whole = judge(hostSchema, source.data);
  const complaints = "value" in whole ? [] : whole.complaints;
  const broken = brokenIssuers(complaints);
  const rest = "value" in whole ? whole : judge(hostSchema, without(source.data, broken));
  const host = "value" in rest ? hostOf(rest.value, source.file, digest, broken) : undefined;
  const all = [...complaints, ...(host === undefined ? [] : complaintsAbout(host))];
  return {
    host,
    problems: problemsOf(source, all),
    warnings: host === undefined ? [] : problemsOf(source, warningsAbout(host)),
    isSound: host !== undefined && all.every(({ isLater }) => isLater),
  };
}

/** The issuers that complaints are about, with the first of them as the reason. */
function brokenIssuers(complaints: readonly Complaint[]): ReadonlyMap<string, string> {
  const broken = new Map<string, string>();
  for (const { path, message, isLater } of complaints) {
    const [top, name] = path;
    if (top !== "issuers" || typeof name !== "string") continue;
    if (isLater === true || !broken.has(name)) broken.set(name, message);
  }
  return broken;
}

function without(data: unknown, broken: ReadonlyMap<string, string>): unknown {
  if (typeof data !== "object" || data === null || !("issuers" in data)) return data;
  const { issuers } = data;
  if (typeof issuers !== "object" || issuers === null || Array.isArray(issuers)) return data;
  return { ...data, issuers: Object.fromEntries(Object.entries(issuers).filter(([name]) => !broken.has(name))) };
}

function hostOf(data: HostData, file: string, digest: string, unusable: ReadonlyMap<string, string>): Host {
  return {
    file,
    digest,
    issuers: new Map(Object.entries(data.issuers)),
    unusable,
    defaultIssuer: data.default_issuer ?? null,
    metrics: { listen: data.metrics?.listen ?? null, textfile: data.metrics?.textfile ?? null },
  };
}

function complaintsAbout(host: Host): readonly Complaint[] {
  const known = [...host.issuers.keys(), ...host.unusable.keys()];
  if (known.length === 0) return [{ path: ["issuers"], message: "issuers must not be empty" }];
  const { defaultIssuer } = host;
  const complaints = fingerprintComplaints(host.issuers);
  if (defaultIssuer === null || known.includes(defaultIssuer)) return complaints;
  return [...complaints, { path: ["default_issuer"], ...unknownIssuer(defaultIssuer, known) }];
}

/** Who asks for metrics must not take silence for a scrape that fails. */
function warningsAbout({ metrics: { listen: address, textfile } }: Host): readonly Complaint[] {
  if (address === null && textfile === null) return [];
  const hint = "nothing listens and nothing is written for it; all else is as it says";
  return [{ path: ["metrics"], message: "this version has no metrics yet", hint, aboutKey: true }];
}

/** One file cannot have two fingerprints: whichever is wrong, one of the two issuers would trust it. */
function fingerprintComplaints(issuers: Host["issuers"]): readonly Complaint[] {
  const first = new Map<string, { name: string; fingerprint: string }>();
  return [...issuers].flatMap(([name, { root }]) => {
    const { file, fingerprint } = root;
    if (file === undefined || fingerprint === undefined) return [];
    const other = first.get(file);
    if (other === undefined) first.set(file, { name, fingerprint });
    if (other === undefined || other.fingerprint === fingerprint) return [];
    const path = ["issuers", name, "root", "fingerprint"];
    return [{ path, message: `fingerprint is not that of issuer ${other.name} for the same file, ${file}` }];
  });
}

/** The complaint about an issuer that is not in the host configuration. */
export function unknownIssuer(name: string, known: readonly string[]): { message: string; hint: string } {
  const near = nearest(name, known);
  return {
    message: `there is no issuer ${show(name)}`,
    hint: near === undefined ? `certagent.yaml has: ${known.join(", ")}` : `did you mean ${near}?`,
  };
}
