/** The child of the demo that is the CA. Killed and started again in the same folder it is the same CA. */
import { randomBytes, randomInt } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { errnoOf, isMissing } from "../../base/file-error.ts";
import { type Instant, systemClock } from "../../base/time.ts";
import { type DevCa, type DevCaOptions, startDevCa } from "../../devca/devca.ts";
import type { Faults } from "../../devca/faults.ts";
import type { RequestRecord } from "../../devca/server.ts";
import type { Print } from "../print.ts";
import { PROVISIONER } from "./stage.ts";

/** One line of the CA's request log. */
export interface SeenRequest extends RequestRecord {
  readonly at: Instant;
}

/** What is to be known of it. `root` is PEM. */
export interface CaFacts {
  readonly url: string;
  readonly root: string;
  readonly password: string;
}

/** What the CA says, a line each. It hears faults, and answers each line with what is in force. */
export type CaWord = { readonly ready: CaFacts } | { readonly request: SeenRequest } | { readonly faults: Faults };

/** Below the ports that connections take for themselves: nobody may take it while the CA is away. */
const PORTS = [20_000, 32_000] as const;

/** Is the CA until its standard input ends. */
export async function playCa(folder: string, print: Print): Promise<void> {
  const say = (word: CaWord): void => print.jsonLine(word);
  const ca = await start(folder, {
    provisioner: { name: PROVISIONER, password: randomBytes(16).toString("base64url") }, // the kept one wins
    keptIn: join(folder, "identity.json"),
    policy: { backdate: 0 }, // a minute would be several lifetimes
    onRequest: (request) => say({ request: { ...request, at: systemClock.now() } }),
  });
  say({ ready: { url: ca.url, root: ca.root.pem, password: ca.provisioner.password } });
  for await (const line of createInterface({ input: process.stdin })) {
    ca.faults = JSON.parse(line) as Faults;
    say({ faults: ca.faults });
  }
  await ca.stop();
}

/** On the port of the last time; the first time on one that is free. */
async function start(folder: string, options: DevCaOptions): Promise<DevCa> {
  const file = join(folder, "port");
  const kept = await readFile(file, "utf8").catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return undefined;
  });
  if (kept !== undefined) return await startDevCa({ ...options, port: Number(kept) });
  for (;;) {
    const port = randomInt(...PORTS);
    try {
      const ca = await startDevCa({ ...options, port });
      await writeFile(file, String(port));
      return ca;
    } catch (error) {
      if (errnoOf(error) !== "EADDRINUSE") throw error;
    }
  }
}
