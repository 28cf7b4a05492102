/** Certificates that nginx picks at each handshake, as `ssl_certificate tls/$ssl_server_name.pem` has it. */
import { resolve } from "node:path";
import { type Directive, isMapOfNames } from "./nginx-syntax.ts";

/** Each name that is asked for, and what a variable is then; `default` stands for all others, and for itself. */
type Entries = readonly (readonly [name: string, value: string])[];
export type Maps = ReadonlyMap<string, Entries>;

const ASKED = "ssl_server_name";
const VARIABLE = /\$(?:\{(\w+)\}|(\w+))/g;

/** The variables that `map $ssl_server_name $variable { … }` makes. */
export function mapsOf(directives: readonly Directive[]): Maps {
  return new Map(directives.flatMap(mapsIn));
}

function mapsIn({ words, block = [] }: Directive): readonly (readonly [variable: string, Entries])[] {
  if (!isMapOfNames(words)) return block.flatMap(mapsIn);
  const entries = block.map(({ words: [name = "", value = ""] }) => [name.toLowerCase(), value] as const);
  return [[(words[2] ?? "").slice(1), entries]];
}

/** The names for which a certificate with a variable in it is one of these paths; none where it has no variable. */
export function namesFor(
  certificate: string,
  folder: string,
  paths: ReadonlySet<string>,
  maps: Maps,
): readonly string[] {
  const [variable, ...others] = new Set(certificate.matchAll(VARIABLE).map(([, braced, plain]) => braced ?? plain));
  if (variable === undefined || others.length > 0) return [];
  const filled = (value: string): string =>
    resolve(
      folder,
      certificate.replaceAll(VARIABLE, () => value),
    );
  const entries = maps.get(variable) ?? (variable === ASKED ? namesIn(paths, filled("\0")) : []);
  return entries.flatMap(([name, value]) => (paths.has(filled(value)) ? [name] : []));
}

/** What may stand in each path for the NUL characters of a pattern. */
function namesIn(paths: ReadonlySet<string>, pattern: string): Entries {
  const [before, after] = [pattern.indexOf("\0"), pattern.length - pattern.lastIndexOf("\0") - 1];
  return [...paths].map((path) => path.slice(before, path.length - after)).map((name) => [name, name]);
}
