/** Where nginx serves a certificate, by its own configuration as `nginx -T` prints it. */
import { dirname, resolve } from "node:path";
import { AgentError } from "../base/errors.ts";
import { endedWell } from "../base/run.ts";
import { sideBySide } from "../base/side-by-side.ts";
import { type Milliseconds, SECOND } from "../base/time.ts";
import { addressText } from "../core/address.ts";
import type { Address, Output, ProbeTarget, System } from "../core/ports.ts";
import { linkedFrom } from "./linked.ts";
import { matchesPattern } from "./path-pattern.ts";
import { targetAt } from "./recipe.ts";

const DUMP_TIMEOUT: Milliseconds = 10 * SECOND;
const LONGEST_DUMP = 4 * 1024 * 1024;
const MOST_NESTED = 10;
/** More than it takes to find hundreds of includes among thousands of files. */
const MOST_STEPS = 5_000_000;
/** More than thousands of servers have. */
const MOST_DIRECTIVES = 50_000;
/** More than anybody makes by hand. */
const MOST_LINKS = 1000;
const AT_ONE_TIME = 8;
/** Servers times addresses times names: far more than thousands of servers have. */
const MOST_PLACED = 200_000;
const LOOKED_FOR: ReadonlySet<string> = new Set([
  "include",
  "listen",
  "server_name",
  "ssl",
  "ssl_certificate",
  "ssl_reject_handshake",
]);

/**
 * The first server whose certificate is one of the outputs, or a link to one, as a client gets to it; undefined where
 * there is none. `dump` is the `nginx -T` of this very nginx. Throws `RELOAD_FAILED` where it does not tell.
 */
export async function servedByNginx(
  { run }: Pick<System, "run">,
  dump: readonly string[],
  outputs: readonly Output[],
  signal: AbortSignal,
): Promise<ProbeTarget | undefined> {
  const result = await run(dump, { timeout: DUMP_TIMEOUT, outputLimit: LONGEST_DUMP, isData: true, signal });
  if (!endedWell(result)) throw new AgentError("RELOAD_FAILED", "Cannot read the configuration of nginx");
  const paths = new Set(outputs.map(({ path }) => path));
  return findServer(result.output, paths) ?? findServer(result.output, await linksTo(paths, result.output));
}

/** The certificates that a configuration names and that are links to these paths. */
async function linksTo(paths: ReadonlySet<string>, dump: string): Promise<ReadonlySet<string>> {
  const named = new Set(dump.matchAll(/\bssl_certificate\s+["']?(\/[^\s;"']+)/g).map(([, path = ""]) => resolve(path)));
  const links = await sideBySide(AT_ONE_TIME, [...named].slice(0, MOST_LINKS), async (path) =>
    paths.has(await linkedFrom(path)) ? [path] : [],
  );
  return new Set(links.flat());
}

interface Directive {
  readonly words: readonly string[];
  readonly block: readonly Directive[] | undefined;
}

/** {@link servedByNginx} in what `nginx -T` printed: every file once, under a heading with its path. */
export function findServer(dump: string, paths: ReadonlySet<string>): ProbeTarget | undefined {
  const [, main, ...rest] = dump.split(/^# configuration file (\/.*):$/m);
  if (main === undefined) return undefined;
  const files = new Map<string, readonly Directive[]>();
  const budget = { directives: MOST_DIRECTIVES };
  for (let at = 0; at < rest.length; at += 2) {
    files.set(at === 0 ? main : (rest[at - 1] ?? ""), parse(rest[at] ?? "", budget));
  }
  const folder = dirname(main);
  const including: Including = { filesOf: includes(files, folder), left: MOST_DIRECTIVES };
  const all = [
    ...servers(expand(files.get(main) ?? [], including), { certificates: [], rejects: false, isTls: false }),
  ];
  const places = placesOf(all);
  let socket: ProbeTarget | undefined;
  for (const server of all) {
    if (server.rejects || !server.certificates.some((path) => paths.has(resolve(folder, path)))) continue;
    for (const listen of server.listens) {
      const target = targetOf(server, listen, places);
      if (target !== undefined && "host" in target.address) return target;
      socket ??= target; // few are seen out of the agent's sandbox
    }
  }
  return socket;
}

type Files = ReadonlyMap<string, readonly Directive[]>;

interface Including {
  /** What the files hold that an `include` names. */
  readonly filesOf: (value: string) => readonly (readonly Directive[])[];
  /** How many directives may still be put in place: files can include each other. */
  left: number;
}

/** Puts the files in place of the `include`s that name them; nginx -T leaves them apart. */
function expand(directives: readonly Directive[], including: Including, depth = 0): readonly Directive[] {
  if (depth > MOST_NESTED) return [];
  return directives.flatMap((directive) => {
    if (including.left-- <= 0) return [];
    const [name, value = ""] = directive.words;
    if (name === "include") return including.filesOf(value).flatMap((content) => expand(content, including, depth + 1));
    return { ...directive, block: directive.block && expand(directive.block, including, depth + 1) };
  });
}

/** Each pattern is looked for once; one line of a file that somebody else writes must not take minutes. */
function includes(files: Files, folder: string): Including["filesOf"] {
  const known = new Map<string, readonly (readonly Directive[])[]>();
  const patience = { steps: MOST_STEPS };
  const find = (pattern: string): readonly (readonly Directive[])[] => {
    const exact = files.get(pattern);
    if (exact !== undefined) return [exact];
    const start = pattern.slice(0, pattern.search(/[*?[]|$/));
    if (start === pattern || (patience.steps -= files.size) < 0) return [];
    const found = [...files].filter(([path]) => path.startsWith(start) && matchesPattern(path, pattern, patience));
    return found.map(([, content]) => content);
  };
  return (value) => {
    const pattern = resolve(folder, value);
    const found = known.get(pattern) ?? find(pattern);
    known.set(pattern, found);
    return found;
  };
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
    .map((name) => name.toLowerCase())
    .flatMap((name) => (name.startsWith(".") ? [name.slice(1), name] : [name]));
  // QUIC has the same address for itself.
  yield { ...own, listens: listens.filter(({ options }) => !options.includes("quic")), names };
  for (const { block } of directives) if (block !== undefined) yield* servers(block, own);
}

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

/** How anyone gets to this very server by TLS where it listens; undefined where nobody does. */
function targetOf(server: ServerBlock, listen: Listen, places: ReadonlyMap<string, Place>): ProbeTarget | undefined {
  const place = places.get(keyOf(listen));
  if (place === undefined || place.options.has("proxy_protocol")) return undefined;
  if (!place.options.has("ssl") && !place.byDefault.isTls) return undefined;
  // Who names that address has it for himself.
  if (listen.isAny && places.has(addressText(listen.address))) return undefined;
  const names = server.names.filter((name) => place.byName.get(name) === server);
  const asked = names.find(isAskable) ?? names.flatMap(examplesOf).find((name) => !place.byName.has(name));
  if (asked === undefined && place.byDefault !== server) return undefined;
  return { ...targetAt(listen.address), serverName: asked ?? null };
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

/** White space, a comment, a quoted word, a mark, or a plain word, in which `${name}` is no block. */
const TOKEN =
  /\s+|#[^\n]*|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([;{}])|((?:\\.|\$\{\w*\}|[^\s;{}"'\\])(?:\\.|\$\{\w*\}|[^\s;{}\\])*)/gs;

/**
 * nginx's syntax: words, `;` at the end of a directive or a block in braces. Only what is looked for is kept, since the
 * lists of addresses of many hosts would fill the memory; what comes after the budget is not read.
 */
function parse(text: string, budget: { directives: number }): readonly Directive[] {
  const open: { words: string[]; directives: Directive[] }[] = [];
  let directives: Directive[] = [];
  let words: string[] = [];
  const close = (outer: (typeof open)[number]): void => {
    if (directives.length > 0) outer.directives.push({ words: outer.words, block: directives });
    [words, directives] = [[], outer.directives];
  };
  for (const [, double, single, mark, plain] of text.matchAll(TOKEN)) {
    if (budget.directives <= 0) break;
    if (mark === "{") {
      budget.directives -= 1;
      open.push({ words, directives });
      [words, directives] = [[], []];
    } else if (mark === "}") {
      const outer = open.pop();
      if (outer === undefined) break;
      close(outer);
    } else if (mark === ";") {
      if (isLookedFor(words)) {
        budget.directives -= 1;
        directives.push({ words, block: undefined });
      }
      words = [];
    } else {
      const word = double ?? single ?? plain;
      if (word !== undefined && (words.length === 0 || isLookedFor(words))) words.push(word);
    }
  }
  for (const outer of open.toReversed()) close(outer);
  return directives;
}

function isLookedFor([name = ""]: readonly string[]): boolean {
  return LOOKED_FOR.has(name);
}
