/**
 * What a power cut may take: the file calls of a renewal in their order, as the kernel sees them. Whatever gets its name
 * was made durable before, and so is that name before certagent goes on.
 */
import { mkdtempDisposable, readdir, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { startDevCa } from "../../../src/devca/devca.ts";
import { certagent, startCertagent } from "../../servers/program.ts";
import { homeAt } from "./home.ts";

test.for(["files", "link"] as const)(
  "nothing has its name before it is durable, and each name is made durable, too: layout: %s",
  async (layout) => {
    await using ca = await startDevCa();
    await using home = await homeAt(ca);
    await using traces = await mkdtempDisposable(join(tmpdir(), "certagent-calls-"));
    const write = (sans: readonly string[]): Promise<void> => {
      const outputs = ["fullchain", "key"].map((format) => ({ format, path: join(home.folder, `web.${format}`) }));
      const spec = { subject: "web.internal", sans, layout, key: { rotate: true }, outputs };
      return home.write("web", JSON.stringify(spec));
    };
    await write(["web.internal"]);
    expect((await certagent(home, "once")).code).toBe(0);
    await write(["web.internal", "www.internal"]);

    const calls = "trace=openat,pwrite64,fsync,rename,symlink,mkdir";
    const through = ["strace", "-D", "-ff", "-y", "-s", "4096", "-e", calls, "-o", join(traces.path, "calls")];
    const child = await startCertagent(["once", ...home.options], { through, env: { UV_THREADPOOL_SIZE: "1" } });
    expect((await child.ended).code).toBe(0);

    const { named, faults } = judge(await callsOf(traces.path));
    expect(faults).toEqual([]);
    const outputs = layout === "files" ? ["web.key", "web.fullchain"] : ["current"];
    expect(named.map((path) => path.split("/").at(-1))).toEqual(expect.arrayContaining([...outputs, "2.json"]));
  },
);

/** Of the thread that does the file calls. */
async function callsOf(folder: string): Promise<readonly string[]> {
  const texts = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), "utf8")));
  const syncs = (text: string): number => text.split("\nfsync(").length;
  return texts.toSorted((a, b) => syncs(b) - syncs(a))[0]?.split("\n") ?? [];
}

/** Which paths were given to what was made before, and what a power cut could have taken of that. */
function judge(calls: readonly string[]): { readonly named: readonly string[]; readonly faults: readonly string[] } {
  const descriptors = new Map<string, string>();
  /** Files and folders that were made or written to and not synced since. */
  const dirty = new Set<string>();
  /** Folders with names that are not durable, and the last of those. */
  const names = new Map<string, string>();
  const named: string[] = [];
  const faults: string[] = [];
  const real = (path: string): string =>
    path.replace(/^\/proc\/self\/fd\/(\d+)/, (_, descriptor: string) => descriptors.get(descriptor) ?? "?");

  for (const call of calls) {
    const [, opened = "", path = ""] = /^openat\(.*\) = (\d+)<(.*)>$/.exec(call) ?? [];
    if (opened !== "") descriptors.set(opened, path);
    if (opened !== "" && call.includes("O_CREAT")) dirty.add(path);
    const [, written = ""] = /^pwrite64\(\d+<(.*?)>/.exec(call) ?? [];
    if (written !== "") dirty.add(written);
    const [, synced = ""] = /^fsync\(\d+<(.*)>\) += 0$/.exec(call) ?? [];
    dirty.delete(synced);
    names.delete(synced);
    const [, from = "", to = ""] = /^rename\("(.*)", "(.*)"\) = 0$/.exec(call) ?? [];
    if (from === "") continue;
    named.push(real(to));
    if (dirty.has(real(from))) faults.push(`${real(to)} is named before it is durable`);
    names.set(dirname(real(to)), real(to));
  }
  return { named, faults: [...faults, ...[...names.values()].map((path) => `the name ${path} is never durable`)] };
}
