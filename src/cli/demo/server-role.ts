/**
 * The child of the demo that is the service: a TLS server that loads its files at start and at SIGHUP, as most do. Until
 * they are there it has no certificate, and every handshake fails.
 */
import { once } from "node:events";
import { readFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createInterface } from "node:readline";
import { createServer } from "node:tls";
import type { Print } from "../print.ts";
import type { Signals } from "../signals.ts";
import type { PairFiles } from "./pair.ts";

/** What the server says, a line each. It hears how many of the next SIGHUPs to ignore, and answers with that. */
export type ServerWord =
  | { readonly ready: { readonly port: number } }
  | { readonly reload: "loaded" | "ignored" | "failed" }
  | { readonly ignoring: number };

/** Is the server until its standard input ends. */
export async function playServer(files: PairFiles, print: Print, signals: Signals): Promise<void> {
  const say = (word: ServerWord): void => print.jsonLine(word);
  const server = createServer((socket) => socket.on("error", () => undefined).resume());
  const load = (): boolean => {
    try {
      server.setSecureContext({ cert: readFileSync(files.certificate), key: readFileSync(files.key) });
      return true;
    } catch {
      return false; // as servers do, it goes on with what it has
    }
  };
  let ignoring = 0;
  signals.listen((signal) => {
    if (signal !== "SIGHUP") return;
    const isIgnored = ignoring > 0;
    if (isIgnored) ignoring -= 1;
    say({ reload: isIgnored ? "ignored" : load() ? "loaded" : "failed" });
  });
  load();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  say({ ready: { port: (server.address() as AddressInfo).port } });
  for await (const line of createInterface({ input: process.stdin })) {
    ignoring = JSON.parse(line) as number;
    say({ ignoring });
  }
}
