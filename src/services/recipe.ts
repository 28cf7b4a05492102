/** The keys that every kind of service takes, and how they are parsed. */
import { isIP } from "node:net";
import * as z from "zod";
import { DURATION_PATTERN, parseDuration } from "../base/duration.ts";
import { HOUR, type Milliseconds, SECOND } from "../base/time.ts";
import type { Address, ProbeTarget, Service } from "../core/ports.ts";
import { STARTTLS, type Starttls } from "../core/starttls.ts";
import { execute, showCommand } from "./execute.ts";
import { changeUnit, requireFit, shortName, unfitUnit } from "./unit.ts";

/** How long one connection of a probe may take, where the spec says nothing. */
const PROBE_TIMEOUT: Milliseconds = 5 * SECOND;

/** A reload ends when its signal is sent: who hears that reads its files, or is gone, a moment later. */
export const HEARD: Milliseconds = 250;

const DURATION = 'write a duration with its unit, at most an hour: "30s", "2m"';
const ADDRESS = 'write "host:port", "[2001:db8::1]:port" or "/path/to/socket"';

const duration = z
  .string(DURATION)
  .meta({ pattern: DURATION_PATTERN })
  .transform((text, context): Milliseconds => {
    const span = parseDuration(text);
    if (span !== undefined && span <= HOUR) return span;
    context.addIssue(DURATION);
    return z.NEVER;
  });

/** A command: an absolute program path and its arguments, run as they stand, never through a shell. */
export const argv = z
  .array(
    z.string().refine((word) => !word.includes("\0"), "write a word without NUL characters"),
    {
      error: 'write the command as a list: ["/usr/sbin/nginx", "-s", "reload"]',
    },
  )
  .min(1, 'write the program and its arguments: ["/usr/sbin/nginx", "-s", "reload"]')
  .refine((words) => words[0] === undefined || words[0].startsWith("/"), {
    error: "write the absolute path of the program",
    path: [0],
  });

/** A template, `app@.service`, is no unit: its instances are. */
const UNIT_NAME = /^(?!.*@(?:\.[a-z]+)?$)[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$/;
const UNIT_TYPE = /\.(service|socket|target|timer|path|slice|scope|mount)$/;

/** The name of a systemd unit; `.service` is added where it has no type. */
export const unit = z
  .string()
  .max(255)
  .regex(UNIT_NAME, "write the name of a systemd unit, such as nginx.service, or app@one.service of a template")
  .transform((name) => (UNIT_TYPE.test(name) ? name : `${name}.service`));

function parseAddress(text: string): Address | undefined {
  if (text.startsWith("/"))
    return text.length > 1 && text.length <= 107 && !text.includes("\0") ? { path: text } : undefined;
  const parts = /^(?:\[(?<v6>[^\]]+)\]|(?<host>[A-Za-z0-9._-]+)):(?<port>\d{1,5})$/.exec(text)?.groups;
  const host = parts?.v6 ?? parts?.host;
  const port = Number(parts?.port);
  if (host === undefined || port < 1 || port > 65_535 || (parts?.v6 !== undefined && isIP(host) !== 6))
    return undefined;
  return { host, port };
}

/** `host:port`, `[v6]:port`, or the path of a unix socket. */
export const address = z
  .string(ADDRESS)
  .meta({ pattern: "^(/.{1,106}|(\\[[^\\]]+\\]|[A-Za-z0-9._-]+):(?!0+$)[0-9]{1,5})$" })
  .transform((text, context): Address => {
    const parsed = parseAddress(text);
    if (parsed !== undefined) return parsed;
    context.addIssue(ADDRESS);
    return z.NEVER;
  });

/** An absolute path of a file. */
export const absolutePath = z
  .string()
  .refine((path) => path.startsWith("/") && !path.includes("\0"), "write an absolute path")
  .meta({ pattern: "^/" });

const probe = z.strictObject(
  {
    connect: address.meta({
      description:
        "Where to look: `host:port`, `[v6]:port`, or the path of a unix socket, but for those in /run, /tmp and /home, which `certagent.service` hides from the agent.",
    }),
    server_name: z
      .string()
      .regex(/^[A-Za-z0-9._-]{1,253}$/, "write a DNS name")
      .optional()
      .meta({ description: "The TLS server name to ask for; default: the host of `connect` where it is a name." }),
    timeout: duration.optional().meta({ description: "How long one connection may take; default 5s." }),
    starttls: z
      .enum(STARTTLS, { error: `write one of: ${STARTTLS.join(", ")}` })
      .optional()
      .meta({
        description:
          "How TLS is asked for on a plain connection, `proxy`: by the PROXY protocol's header; default: what the service speaks.",
      }),
  },
  {
    error: ({ input }) => (typeof input === "string" ? `write { connect: ${JSON.stringify(input)} }` : undefined),
  },
);

/** The keys of a kind that runs commands, to be spread into its schema. */
export const recipe = {
  preflight: argv.optional().meta({
    description: "A command that checks the service's configuration and changes nothing; replaces the kind's own.",
  }),
  reload: argv.optional().meta({
    description: "A command that makes the service take the new files; replaces the kind's own.",
  }),
  timeout: duration.prefault("30s").meta({
    description: "How long a command may take, and how long the new certificate may take to be served.",
  }),
  probe: probe.optional().meta({
    description:
      "Where to see which certificate the service serves. Where no unit tells, whoever listens there counts as the service.",
  }),
};

/** {@link recipe}, parsed. */
interface Recipe {
  readonly preflight?: readonly string[] | undefined;
  readonly reload?: readonly string[] | undefined;
  readonly timeout: Milliseconds;
}

/** How a kind does without commands of the spec's, and how its failures begin: they complete "Cannot …". */
export interface OwnWay {
  /** `check PostgreSQL`. */
  readonly check: string;
  /** `reload PostgreSQL`. */
  readonly act: string;
  /** What `take` does, as people would type it. */
  readonly step: string;
  readonly take: Service["reload"];
  /** Of the unit that `take` reloads. */
  readonly unfit?: Service["unfit"];
}

/** The way of a kind that has systemd tell its unit. */
export function byUnit(change: Parameters<typeof changeUnit>[1]): Pick<OwnWay, "step" | "take" | "unfit"> {
  const { unit, action } = change;
  return {
    step: `systemctl ${action} ${shortName(unit)}`,
    take: (system, context, signal) => changeUnit(system, change, context, signal),
    unfit: (system, signal) => unfitUnit(system, unit, action, signal),
  };
}

/** What a kind does by the commands of its spec, and where there are none by its own way. */
export function byRecipe(
  { preflight, reload, timeout }: Recipe,
  { check, act, step, take, unfit }: OwnWay,
): Pick<Service, "steps" | "timeout" | "passive" | "window" | "unfit" | "preflight" | "reload"> {
  return {
    ...(unfit && !reload && { unfit }),
    steps: [...(preflight ? [showCommand(preflight)] : []), reload ? showCommand(reload) : step],
    timeout,
    passive: false,
    window: null,
    preflight: async (system, signal) => {
      if (preflight) await execute(system, preflight, { action: check, timeout }, signal);
      if (!reload) await requireFit(unfit, system, signal);
    },
    reload: async (system, context, signal) => {
      if (!reload) return await take(system, context, signal);
      await execute(system, reload, { action: act, timeout }, signal);
      return undefined;
    },
  };
}

/** The target of a spec's probe, with the service's own way to TLS as default. */
export function probeTarget(spec: z.output<typeof probe> | undefined, flavour: "tls" | Starttls = "tls") {
  return (
    spec &&
    targetAt(spec.connect, { flavour: spec.starttls ?? flavour, serverName: spec.server_name, timeout: spec.timeout })
  );
}

/** A target with defaults filled in: a host that is a name is asked for by that name. */
export function targetAt(
  at: Address,
  more: { flavour?: "tls" | Starttls; serverName?: string | undefined; timeout?: Milliseconds | undefined } = {},
): ProbeTarget {
  const named = "host" in at && isIP(at.host) === 0 ? at.host : null;
  return {
    address: at,
    starttls: more.flavour ?? "tls",
    serverName: more.serverName ?? named,
    timeout: more.timeout ?? PROBE_TIMEOUT,
  };
}
