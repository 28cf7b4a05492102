/** The baseline: smallstep's own client, which renews one certificate a process. */
import { execFile } from "node:child_process";
import { copyFile, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Milliseconds, pause, SECOND } from "../../src/base/time.ts";
import type { PairFiles } from "../servers/daemon.ts";
import { startDaemon } from "../servers/daemon.ts";
import type { StepCa } from "../servers/step-ca.ts";
import { toolPath } from "../servers/tools.ts";
import { cpuOfChildren, type Memory, memoryOf } from "./process-figures.ts";

/** Runs a `step ca renew --daemon` for a copy of each pair, and tells what all of them use together. */
export async function memoryOfDaemons(ca: StepCa, pairs: readonly PairFiles[]): Promise<Memory> {
  await using stack = new AsyncDisposableStack();
  const copies = stack.use(await copyPairs(pairs));
  const pids: number[] = [];
  for (const { certificate, key } of copies.pairs) {
    const argv = [toolPath("step"), "ca", "renew", "--daemon", ...serverOf(ca), certificate, key] as const;
    pids.push(stack.use(await startDaemon(argv, () => Promise.resolve(true))).pid);
  }
  await pause(3 * SECOND);
  const figures = pids.map(memoryOf);
  const sum = (of: keyof Memory): number => figures.reduce((total, memory) => total + memory[of], 0);
  return { rss: sum("rss"), pss: sum("pss"), dirty: sum("dirty") };
}

/** The processor time of one `step ca renew`, as the mean over one for each pair. */
export async function cpuOfRenewal(ca: StepCa, pairs: readonly PairFiles[]): Promise<Milliseconds> {
  await using copies = await copyPairs(pairs);
  const argv = [toolPath("step"), "ca", "renew", "--force", ...serverOf(ca)].map((word) => `'${word}'`).join(" ");
  const lines = copies.pairs.map(({ certificate, key }) => `${argv} '${certificate}' '${key}' >/dev/null 2>&1 || exit`);
  // The shell's own account of its children is exact, and unlike a child's it can still be read when that has ended.
  const { stdout } = await promisify(execFile)("/bin/sh", [
    "-c",
    `${lines.join("\n")}\nread stat </proc/$$/stat; echo "$stat"`,
  ]);
  return cpuOfChildren(stdout) / pairs.length;
}

function serverOf({ url, rootFile }: StepCa): readonly string[] {
  return ["--ca-url", url, "--root", rootFile];
}

async function copyPairs(pairs: readonly PairFiles[]) {
  const folder = await mkdtemp(join(tmpdir(), "certagent-bench-step-"));
  const copies = pairs.map((_, index) => ({
    certificate: join(folder, `${index}.crt`),
    key: join(folder, `${index}.key`),
  }));
  for (const [index, { certificate, key }] of pairs.entries()) {
    await copyFile(certificate, copies[index]?.certificate ?? "");
    await copyFile(key, copies[index]?.key ?? "");
  }
  return { pairs: copies, [Symbol.asyncDispose]: () => rm(folder, { recursive: true }) };
}
