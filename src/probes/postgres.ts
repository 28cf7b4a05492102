import type { Socket } from "node:net";
import { AgentError } from "../base/errors.ts";
import type { Probe } from "../core/ports.ts";
import { type AskForTls, servedLeaf } from "./handshake.ts";

/** SSLRequest: its length and its code (PostgreSQL, "Message Formats"). */
const SSL_REQUEST = Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]);
const YES = 0x53;
const NO = 0x4e;

const SWITCHED_OFF = {
  fact: "PostgreSQL there has TLS switched off",
  hint: "SHOW ssl tells; where it says on, PostgreSQL's log says why no pair was loaded",
};
const ON_A_SOCKET = {
  fact: "PostgreSQL has no TLS on a unix socket",
  hint: 'write the address that it listens at as the probe\'s connect: "127.0.0.1:5432"',
};

/** PostgreSQL: an SSLRequest, one byte of answer, then TLS. It shows its certificate to everyone, before any login. */
export const postgres: Probe = (target, signal) => servedLeaf(target, signal, askPostgres);

const askPostgres: AskForTls = async (raw, name, signal) => {
  raw.write(SSL_REQUEST);
  const answer = await readByte(raw, signal);
  // What came with the answer came unencrypted: nothing that speaks TLS sends first (CVE-2021-23222).
  if (answer === YES && raw.readableLength === 0) return;
  const { fact, hint } = complaint(answer, name);
  throw new AgentError("SERVICE_STALE", `Cannot see the certificate at ${name}: ${fact}`, { hint });
};

function complaint(answer: number | undefined, name: string): { readonly fact: string; readonly hint?: string } {
  if (answer === undefined) return { fact: "no answer to an SSLRequest" };
  if (answer !== NO) return { fact: "what listens there is not PostgreSQL" };
  return name.startsWith("/") ? ON_A_SOCKET : SWITCHED_OFF;
}

/** One byte; undefined where the other side closes or the signal aborts. */
function readByte(raw: Socket, signal: AbortSignal): Promise<number | undefined> {
  return new Promise((resolve) => {
    const settle = (byte?: number): void => {
      raw.off("readable", look).off("close", giveUp).off("end", giveUp);
      signal.removeEventListener("abort", giveUp);
      resolve(byte);
    };
    const giveUp = (): void => settle();
    const look = (): void => {
      const bytes = raw.read(1) as Buffer | null;
      if (bytes !== null) settle(bytes[0]);
    };
    raw.on("readable", look).once("close", giveUp).once("end", giveUp);
    if (signal.aborted) giveUp();
    else signal.addEventListener("abort", giveUp, { once: true });
  });
}
