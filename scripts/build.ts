/**
 * Builds the one file that gets installed: `dist/certagent.mjs`, and the licences of everything in it beside it. The
 * same sources give the same bytes, wherever and whenever they are built.
 */
import { mkdir, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type BuildOptions, build, type Metafile, type Plugin } from "esbuild";

const ROOT = join(import.meta.dirname, "..");
const NOTICE = `certagent is licensed under the Apache License 2.0 (LICENSE). It runs on Node.js, which is not part of this
file and comes with its own LICENSE. The packages that certagent.mjs contains, each with its licence:
`;

/** Packages that cost memory and start-up time: loaded when a key is certified, a token signed, a CA asked, a file watched, a text parsed. */
const LAZY_PACKAGES = [
  "@peculiar/x509",
  "chokidar",
  "jose",
  "reflect-metadata",
  "undici/lib/dispatcher/client.js",
  "yaml",
];

/** undici's index brings its fetch, caches and WebSocket: 8 MB of memory more than the client's own file (measured). */
const UNDICI_INDEX = "node_modules/undici/index.js";

/**
 * CommonJS packages inside an ES module call `require` for Node's own modules. V8 reads the whole text of a program at each
 * start, but comments in no time: so a lazy package is the comment in a function at the end of the bundle, and is
 * compiled from that function's text when it is first asked for. The file itself may be another one by then.
 */
const BANNER = `import { createRequire } from "node:module"; import { compileFunction } from "node:vm";
const require = createRequire(import.meta.url);
const loadPart = (name, part) => {
  const module = { exports: {} };
  const text = part.toString();
  const code = text.slice(text.indexOf("//") + 2, text.lastIndexOf("\\n"));
  compileFunction(code, ["module", "exports", "require"], { filename: "certagent.mjs/" + name })(module, module.exports, require);
  return module.exports;
};`;

/** Of package.json only the version gets in: the rest is nobody's business on a host, and would make builds differ. */
const versionOnly: Plugin = {
  name: "version only",
  setup: (esbuild) => {
    esbuild.onLoad({ filter: /[\\/]package\.json$/ }, async ({ path, with: { type } }) => {
      if (type !== "json" || path !== join(ROOT, "package.json")) return undefined;
      const { version } = JSON.parse(await readFile(path, "utf8")) as { version: string };
      return { contents: JSON.stringify({ version }), loader: "json" };
    });
  },
};

/**
 * undici's client wants two words of Node's http: its limit for headers, and a class to tell requests by that none of
 * ours is of. Whoever loads that module gets Node's own fetch and WebSocket with it: 4 MB that nothing can give back.
 */
const withoutHttp: Plugin = {
  name: "undici without node:http",
  setup: (esbuild) => {
    esbuild.onResolve({ filter: /^node:http$/ }, ({ importer }) =>
      importer.includes(`${join("node_modules", "undici")}/`) ? { path: "http", namespace: "stub" } : undefined,
    );
    esbuild.onLoad({ filter: /^http$/, namespace: "stub" }, () => ({
      contents: "module.exports = { maxHeaderSize: 16384, IncomingMessage: class {} };",
    }));
  },
};

/** A lazy package, or what is imported of one, in the program: the function that holds it, and its exports. */
const lazyParts: Plugin = {
  name: "lazy packages",
  setup: (esbuild) => {
    esbuild.onResolve({ filter: /^[^.]/ }, ({ path }) => {
      const name = LAZY_PACKAGES.find((lazy) => path === lazy || path.startsWith(`${lazy}/`));
      return name === undefined ? undefined : { path: name, namespace: PART };
    });
    esbuild.onLoad({ filter: /^/, namespace: PART }, ({ path }) => ({
      contents: `module.exports = loadPart(${JSON.stringify(path)}, ${functionOf(path)});`,
    }));
  },
};

const PART = "lazy";

/** The name of the function that holds a lazy package. */
function functionOf(name: string): string {
  return `part_${name.replaceAll(/\W/g, "_")}`;
}

const COMMON: BuildOptions = {
  absWorkingDir: ROOT,
  write: false,
  bundle: true,
  metafile: true,
  platform: "node",
  target: "node26",
  // Identifiers stay, so that a stack trace from a host can be read.
  minifyWhitespace: true,
  minifySyntax: true,
  legalComments: "none",
  logLevel: "silent",
};

interface Text {
  readonly text: string;
  readonly metafile: Metafile;
}

async function textOf(options: BuildOptions): Promise<Text> {
  const { outputFiles = [], metafile = { inputs: {}, outputs: {} } } = await build({ ...COMMON, ...options });
  return { text: outputFiles.map((file) => file.text).join(""), metafile };
}

/** The function that holds a lazy package. It is one line, for which template literals are written as sums of strings. */
async function part(name: string): Promise<Text> {
  const supported = { "template-literal": false };
  const { text, metafile } = await textOf({ entryPoints: [name], format: "cjs", supported, plugins: [withoutHttp] });
  const line = text.trim();
  if (line.includes("\n")) throw new Error(`${name} is more than one line: ${line.split("\n", 1)[0]?.slice(-60)}`);
  return { text: `function ${functionOf(name)}() {\n//${line}\n}\n`, metafile };
}

/**
 * Bundles `entry` (from the root of the checkout) into `folder`. Throws where a package of {@link LAZY_PACKAGES} would be
 * evaluated at start, or where the whole of undici or a package without a licence text would get in.
 */
export async function bundle(entry: string, folder: string): Promise<void> {
  const program = await textOf({
    entryPoints: [entry],
    format: "esm",
    banner: { js: BANNER },
    plugins: [versionOnly, lazyParts],
  });
  refuseEarlyPackages(program.metafile, entry);
  const lazy = LAZY_PACKAGES.filter((name) => `${PART}:${name}` in program.metafile.inputs);
  const all = [program, ...(await Promise.all(lazy.map(part)))];
  if (all.some(({ metafile }) => UNDICI_INDEX in metafile.inputs))
    throw new Error("the index of undici is imported: import the file that is needed");
  const text = all.map((each) => each.text).join("");
  // One character beyond that, and V8 keeps all of the text in two bytes a character: 2 MB that nobody gets back.
  const strange = /.{0,40}[^\0-\x7f].{0,20}/.exec(text)?.[0];
  if (strange !== undefined) throw new Error(`the bundle is not ASCII: ${strange}`);
  await mkdir(folder, { recursive: true });
  await replace(join(folder, "certagent.mjs"), text);
  await replace(
    join(folder, "LICENSES.txt"),
    await licences(all.flatMap(({ metafile }) => Object.keys(metafile.inputs))),
  );
}

/** A test may be running the old file: it is replaced, not written into. */
async function replace(path: string, contents: string): Promise<void> {
  await writeFile(`${path}.new`, contents);
  await rename(`${path}.new`, path);
}

/** Follows the static imports alone: what they reach is evaluated at start, what stands behind `import()` is not. */
function refuseEarlyPackages(metafile: Metafile, entry: string): void {
  const chains = new Map([[entry, [entry]]]);
  for (const [file, chain] of chains) {
    const early = LAZY_PACKAGES.find((name) => file === `${PART}:${name}`);
    if (early !== undefined) throw new Error(`${early} is loaded at start: ${chain.slice(0, -1).join(" → ")}`);
    for (const { kind, path } of metafile.inputs[file]?.imports ?? []) {
      if (kind !== "dynamic-import" && !chains.has(path)) chains.set(path, [...chain, path]);
    }
  }
}

async function licences(inputs: readonly string[]): Promise<string> {
  const folders = inputs.map((file) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(file)?.[0]);
  const packages = [...new Set(folders)].filter((folder) => folder !== undefined).toSorted();
  const texts = await Promise.all(packages.map((folder) => licence(join(ROOT, folder))));
  return [NOTICE, ...texts].join(`\n${"-".repeat(80)}\n`);
}

async function licence(folder: string): Promise<string> {
  const { name, version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8")) as Record<
    string,
    string
  >;
  const file = (await readdir(folder)).find((entry) => /^licen[sc]e/i.test(entry));
  if (file === undefined) throw new Error(`${name} ${version} (${license}) has no licence text`);
  return `${name} ${version} (${license})\n\n${(await readFile(join(folder, file), "utf8")).trim()}\n`;
}

if (import.meta.main) {
  try {
    await bundle("src/main.ts", join(ROOT, "dist"));
    if (process.argv.includes("--tell")) process.stdout.write("dist/certagent.mjs\n");
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n`);
    process.exitCode = 1;
  }
}
