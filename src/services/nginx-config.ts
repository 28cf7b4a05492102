/** Where nginx serves a certificate, by its own configuration as `nginx -T` prints it. */
import { hostname } from "node:os";
import { resolve } from "node:path";
import { AgentError } from "../base/errors.ts";
import { endedWell } from "../base/run.ts";
import { sideBySide } from "../base/side-by-side.ts";
import { type Milliseconds, SECOND } from "../base/time.ts";
import { addressText } from "../core/address.ts";
import type { Address, Output, ProbeTarget, System } from "../core/ports.ts";
import { createIsOneOf } from "./linked.ts";
import { type Directive, folderOf, readDump } from "./nginx-syntax.ts";
import { mapsOf, namesFor } from "./nginx-variables.ts";
import { targetAt } from "./recipe.ts";

const DUMP_TIMEOUT: Milliseconds = 10 * SECOND;
const LONGEST_DUMP = 4 * 1024 * 1024;
/** More than anybody makes by hand. */
const MOST_LINKS = 1000;
const AT_ONE_TIME = 8;
/** Servers times addresses times names: far more than thousands of servers have. */
const MOST_PLACED = 200_000;

/**
 * The first server whose certificate is one of the outputs, or a link to one, as a client gets to it. Where none can be
 * got to: `SERVICE_UNSEEN`, or undefined where nginx has the outputs for something else than to serve them. `dump` is the
 * `nginx -T` of this very nginx. Throws `RELOAD_FAILED` where it does not tell.
 */
export async function servedByNginx(
  { run }: Pick<System, "run">,
  dump: readonly string[],
  outputs: readonly Output[],
  signal: AbortSignal,
): Promise<ProbeTarget | AgentError | undefined> {
  const result = await run(dump, { timeout: DUMP_TIMEOUT, outputLimit: LONGEST_DUMP, isData: true, signal });
  if (!endedWell(result)) throw new AgentError("RELOAD_FAILED", "Cannot read the configuration of nginx");
  const dumped = result.output;
  const paths = outputs.map(({ path }) => path);
  const direct = findServer(dumped, new Set(paths));
  if (direct !== undefined) return direct;
  const named = await namedIn(dumped, CERTIFICATE, paths);
  const linked = named.length === 0 ? undefined : findServer(dumped, new Set(named));
  if (linked !== undefined) return linked;
  // Of what is too long the middle is left out, and words about that come in.
  if (Buffer.byteLength(dumped) > LONGEST_DUMP) return unseen("its configuration is longer than 4 MiB");
  if (named.length > 0) return unseen("it has this certificate only where certagent does not know how to ask for it");
  if ((await namedIn(dumped, OTHER_USES, paths)).length > 0) return undefined;
  return unseen("its configuration has none of the outputs as ssl_certificate, as far as variables are followed");
}

const CERTIFICATE = /\bssl_certificate\s+["']?([^\s;"']+)/g;
/** A certificate, a key or trust anchors that nobody is shown. */
const OTHER_USES =
  /\b(?:(?:proxy|grpc|uwsgi)_ssl_(?:certificate|certificate_key|trusted_certificate)|ssl_(?:client|trusted)_certificate)\s+["']?([^\s;"']+)/g;

function unseen(fact: string): AgentError {
  return new AgentError("SERVICE_UNSEEN", `Cannot look at what nginx serves: ${fact}`, {
    hint: 'does nginx name the files of the spec? Where it does, write probe: { connect: "HOST:PORT", server_name: NAME }, or, without TLS over TCP (QUIC alone), type: command, which takes its reload for the proof',
  });
}

/** The paths in a configuration that are these, by links or as they are. */
async function namedIn(dump: string, directive: RegExp, paths: readonly string[]): Promise<readonly string[]> {
  const named = new Set(dump.matchAll(directive).map(([, path = ""]) => resolve(folderOf(dump), path)));
  const isOurs = await createIsOneOf(paths);
  const found = await sideBySide(AT_ONE_TIME, [...named].slice(0, MOST_LINKS), async (path) =>
    (await isOurs(path)) ? [path] : [],
  );
  return found.flat();
}

/** {@link servedByNginx} in what `nginx -T` printed: every file once, under a heading with its path. */
export function findServer(dump: string, paths: ReadonlySet<string>): ProbeTarget | undefined {
  const configuration = readDump(dump);
  if (configuration === undefined) return undefined;
  const { folder, directives } = configuration;
  const all = [...servers(directives, { certificates: [], rejects: false, isTls: false })];
  const places = placesOf(all);
  const maps = mapsOf(directives);
  const others: ProbeTarget[] = [];
  for (const server of all) {
    if (server.rejects) continue;
    const isOurs = server.certificates.some((path) => paths.has(resolve(folder, path)));
    const picked = isOurs ? undefined : server.certificates.flatMap((path) => namesFor(path, folder, paths, maps));
    if (picked?.length === 0) continue;
    for (const listen of server.listens) {
      const target = targetOf(server, listen, places, picked);
      if (target === undefined) continue;
      if ("host" in target.address && target.starttls === "tls") return target;
      others.push(target);
    }
  }
  // Few sockets are seen out of the agent's sandbox.
  return others.find(({ address }) => "host" in address) ?? others[0];
}

/** What a server has of the block around it, where it says nothing itself. */
interface Inherited {
  readonly certificates: readonly string[];
  /** It ends all handshakes (`ssl_reject_handshake`). */
  readonly rejects: boolean;
  /** It speaks TLS wherever it is the default server (`ssl on`, before nginx 1.25). */
  readonly isTls: boolean;
}

interface ServerBlock extends Inherited {
  readonly listens: readonly Listen[];
  readonly names: readonly string[];
}

interface Listen {
  /** Where a client of this host gets to it. */
  readonly address: Address;
  /** It is every address of the host that no other `listen` names. */
  readonly isAny: boolean;
  readonly options: readonly string[];
}

/** Every server block. */
function* servers(directives: readonly Directive[], inherited: Inherited): Generator<ServerBlock> {
  const argumentsOf = (name: string): string[][] =>
    directives.filter(({ words }) => words[0] === name).map(({ words }) => words.slice(1));
  const certificates = argumentsOf("ssl_certificate").flat();
  const [rejects] = argumentsOf("ssl_reject_handshake").flat();
  const [ssl] = argumentsOf("ssl").flat();
  const own: Inherited = {
    certificates: certificates.length > 0 ? certificates : inherited.certificates,
    rejects: rejects === undefined ? inherited.rejects : rejects === "on",
    isTls: ssl === undefined ? inherited.isTls : ssl === "on",
  };
  const listens = argumentsOf("listen").map(listenOf);
  // nginx takes them in lower case. `.internal` is `internal`, and all below it.
  const names = argumentsOf("server_name")
    .flat()
    .map((name) => (name === "$hostname" ? hostname() : name).toLowerCase())
    .flatMap((name) => (name.startsWith(".") ? [name.slice(1), name] : [name]));
  yield { ...own, listens: listens.filter(({ options }) => !options.some((one) => OF_UDP.has(one))), names };
  for (const { block } of directives) if (block !== undefined) yield* servers(block, own);
}

/** Options of a `listen` that has the same address for itself, as it is one of UDP. */
const OF_UDP: ReadonlySet<string> = new Set(["quic", "udp"]);
/** Of an address without one, with `ssl` too. */
const DEFAULT_PORT = 80;
/** What stands for every address, and one of them. */
const ANY: ReadonlyMap<string, string> = new Map([
  ["*", "127.0.0.1"],
  ["0.0.0.0", "127.0.0.1"],
  ["::", "::1"],
]);

function listenOf([at = "", ...options]: readonly string[]): Listen {
  if (at.startsWith("unix:")) return { address: { path: at.slice("unix:".length) }, isAny: false, options };
  const parts = /^(?:(?<alone>\d+)|(?<host>\[[^\]]+\]|[^:]+)(?::(?<port>\d+))?)(?:-\d+)?$/.exec(at)?.groups;
  const host = parts?.host?.replace(/^\[|\]$/g, "") ?? "*";
  const port = Number(parts?.alone ?? parts?.port ?? DEFAULT_PORT);
  const own = ANY.get(host);
  return { address: { host: own ?? host, port }, isAny: own !== undefined, options };
}

function keyOf({ address, isAny }: Listen): string {
  return isAny ? `any ${addressText(address)}` : addressText(address);
}

/** One address: what one `listen` says of it holds for all servers there. */
interface Place {
  readonly options: Set<string>;
  /** Who answers those who ask for a name that nobody has, or for none. */
  byDefault: ServerBlock;
  /** Who answers those who ask for a name. */
  readonly byName: Map<string, ServerBlock>;
}

function placesOf(all: readonly ServerBlock[]): ReadonlyMap<string, Place> {
  const places = new Map<string, Place>();
  let left = MOST_PLACED;
  for (const server of all) {
    for (const listen of server.listens) {
      left -= server.names.length + 1;
      if (left < 0) return new Map(); // nothing is told of what nobody could have meant
      const { options } = listen;
      const key = keyOf(listen);
      const place = places.get(key) ?? { options: new Set(), byDefault: server, byName: new Map() };
      places.set(key, place);
      for (const option of options) place.options.add(option);
      if (options.includes("default_server") || options.includes("default")) place.byDefault = server;
      for (const name of server.names) if (!place.byName.has(name)) place.byName.set(name, server);
    }
  }
  return places;
}

/**
 * How anyone gets to this very server by TLS where it listens, by one of the names for which it picks the certificate
 * (`picked`) where it does so; undefined where nobody does.
 */
function targetOf(
  server: ServerBlock,
  listen: Listen,
  places: ReadonlyMap<string, Place>,
  picked?: readonly string[],
): ProbeTarget | undefined {
  const place = places.get(keyOf(listen));
  if (place === undefined) return undefined;
  if (!place.options.has("ssl") && !place.byDefault.isTls) return undefined;
  // Who names that address has it for himself.
  if (listen.isAny && places.has(addressText(listen.address))) return undefined;
  const flavour = place.options.has("proxy_protocol") ? "proxy" : "tls";
  if (picked !== undefined) {
    const serverName = picked.find((name) => isAskable(name) && askedFor(name, place) === server);
    return serverName === undefined ? undefined : { ...targetAt(listen.address, { flavour }), serverName };
  }
  const names = server.names.filter((name) => place.byName.get(name) === server);
  const asked = names.find(isAskable) ?? names.flatMap(examplesOf).find((name) => !place.byName.has(name));
  if (asked === undefined && place.byDefault !== server) return undefined;
  return { ...targetAt(listen.address, { flavour }), serverName: asked ?? null };
}

/** Who answers those who ask for a name; which regular expressions fit it is not known. */
function askedFor(name: string, { byName, byDefault }: Place): ServerBlock {
  const labels = name.split(".");
  const above = labels.map((_, at) => labels.slice(at + 1).join(".")).flatMap((rest) => [`*.${rest}`, `.${rest}`]);
  const below = labels.map((_, at) => `${labels.slice(0, labels.length - at - 1).join(".")}.*`);
  return [name, ...above, ...below].map((one) => byName.get(one)).find((server) => server !== undefined) ?? byDefault;
}

/** Names that a wildcard of `server_name` covers, more than one, as somebody else may have one of them for itself. */
function examplesOf(name: string): readonly string[] {
  const examples = ["www", "any"].map((label) => name.replace(/^\*?\./, `${label}.`).replace(/\.\*$/, `.${label}`));
  return examples.filter(isAskable);
}

function isAskable(name: string): boolean {
  // `_` alone is what nobody asks for, by nginx's custom.
  return name !== "_" && /^[\w-]+(\.[\w-]+)*$/.test(name);
}
