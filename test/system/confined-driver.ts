/**
 * Runs inside a test system in the sandbox of the root side: does each task of the JSON file that is its first argument,
 * and writes what came of them to its second.
 */
import { readFile, writeFile } from "node:fs/promises";
import { AgentError, failureOf } from "../../src/base/errors.ts";
import { type RunOptions, run } from "../../src/base/run.ts";
import { pause, SECOND, systemClock } from "../../src/base/time.ts";
import { openRootSystem } from "../../src/cli/root-system.ts";
import { addressText } from "../../src/core/address.ts";
import type { Address, Generation, Service, System } from "../../src/core/ports.ts";
import { fullchain } from "../../src/formats/fullchain.ts";
import { key as keyFormat } from "../../src/formats/key.ts";
import { serviceSchema } from "../../src/services/index.ts";
import { loadCertificates } from "../../src/x509/certificate.ts";
import { parseKey } from "../../src/x509/key.ts";
import { parseName } from "../../src/x509/name.ts";

/** A pair in PEM, and where it lies. */
export interface DrivenPair {
  readonly chain: string;
  readonly key: string;
  readonly roots: string;
  readonly names: readonly string[];
  readonly certificatePath: string;
  readonly keyPath: string;
  /** The user whose key it is. */
  readonly owner: string;
}

export type Task =
  /** One command as the root side runs it, and as it runs where it is not confined. */
  | { readonly kind: "run" | "child"; readonly argv: readonly string[]; readonly options?: Partial<RunOptions> }
  /** The same, and its waiting is ended when a file is there. */
  | { readonly kind: "abandon"; readonly argv: readonly string[]; readonly when: string }
  /** As many at one time. */
  | { readonly kind: "many"; readonly argv: readonly string[]; readonly count: number }
  | { readonly kind: "connect"; readonly to: Address }
  | { readonly kind: "service"; readonly entry: object; readonly pair: DrivenPair };

const TIMEOUT = 60 * SECOND;
const never = new AbortController().signal;

async function outcome(system: System, task: Task): Promise<unknown> {
  switch (task.kind) {
    case "run":
      return await system.run(task.argv, { timeout: TIMEOUT, label: "web", ...task.options });
    case "child":
      return await run(task.argv, { timeout: TIMEOUT, ...task.options });
    case "abandon": {
      const stop = new AbortController();
      const running = system.run(task.argv, { timeout: TIMEOUT, label: "web", signal: stop.signal });
      while ((await readFile(task.when).catch(() => undefined)) === undefined) await pause(20);
      stop.abort();
      return await running;
    }
    case "many": {
      const options = { timeout: TIMEOUT, label: "web" };
      return await Promise.all(Array.from({ length: task.count }, async () => await system.run(task.argv, options)));
    }
    case "connect": {
      const socket = await system.connect(task.to, addressText(task.to), AbortSignal.timeout(TIMEOUT));
      socket.destroy();
      return "connected";
    }
    case "service":
      return await reloaded(system, serviceSchema.parse(task.entry), task.pair);
  }
}

/** What a reload does, in its order. */
async function reloaded(system: System, service: Service, pair: DrivenPair): Promise<unknown> {
  const access = { owner: null, group: null, acl: [] };
  const outputs = [
    { ...access, format: fullchain, path: pair.certificatePath, mode: 0o644 },
    { ...access, format: keyFormat, path: pair.keyPath, owner: pair.owner, mode: 0o600 },
  ];
  const liveness = await service.liveness(system, never);
  await service.preflight(system, never);
  const note = await service.reload(system, { outputs, generation: generationOf(pair) }, never);
  const probe = await service.defaultProbe(system, outputs, never);
  const address = probe === undefined || probe instanceof AgentError ? null : addressText(probe.address);
  return { liveness, note: note ?? null, probe: address };
}

function generationOf(pair: DrivenPair): Generation {
  const [leaf, ...above] = loadCertificates(pair.chain);
  if (leaf === undefined) throw new TypeError("a pair has a certificate");
  const names = pair.names.map((name) => parseName(name)).filter((name) => name !== undefined);
  return {
    number: 1,
    request: { issuer: "internal", subject: "", names, usages: ["server"], lifetime: null, key: null },
    key: parseKey(pair.key),
    chain: [leaf, ...above],
    roots: loadCertificates(pair.roots),
    issuedAt: systemClock.now(),
    via: "token",
  };
}

const [, , asked = "", answered = ""] = process.argv;
const tasks = JSON.parse(await readFile(asked, "utf8")) as readonly Task[];
const program = [process.execPath, ...process.execArgv, "/usr/lib/certagent/certagent.mjs"];
const rootSystem = await openRootSystem({ clock: systemClock, run, program }, "/run/certagent");
const answers: unknown[] = [];
for (const task of tasks) {
  answers.push(await outcome(rootSystem, task).catch((error: unknown) => failureOf(error)));
}
await writeFile(answered, JSON.stringify(answers));
