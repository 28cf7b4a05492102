/** A name server on the loopback, for names that a test chooses. Or one that hears and says nothing. */
import { Buffer } from "node:buffer";
import { randomInt } from "node:crypto";
import { createSocket } from "node:dgram";
import { once } from "node:events";

export interface NameServer extends AsyncDisposable {
  /** Its address in 127.0.0.0/8; the port is 53, since a resolver knows no other. */
  readonly address: string;
  /** How many questions came. */
  questions(): number;
}

/** Starts it. It answers 127.0.0.1 for `names` and that no other name exists; nothing at all where `isSilent`. Needs root. */
export async function startNameServer(
  names: readonly string[],
  { isSilent = false, address = `127.${randomInt(1, 255)}.${randomInt(255)}.${randomInt(1, 255)}` } = {},
): Promise<NameServer> {
  const socket = createSocket("udp4");
  let questions = 0;
  socket.on("message", (message, { port, address: from }) => {
    questions++;
    if (!isSilent) socket.send(answer(message, names), port, from);
  });
  socket.bind(53, address);
  await once(socket, "listening");
  return { address, questions: () => questions, [Symbol.asyncDispose]: () => closed(socket) };
}

function closed(socket: { close(callback: () => void): unknown }): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  socket.close(resolve);
  return promise;
}

const HEADER = 12;
const TYPE_A = 1;
const NO_SUCH_NAME = 3;

/** RFC 1035, part 4: one question is repeated, and answered with one record where it asks for an IPv4 address. */
function answer(message: Buffer, names: readonly string[]): Buffer {
  const labels: string[] = [];
  let at = HEADER;
  for (let length = message[at] ?? 0; length > 0; length = message[at] ?? 0) {
    labels.push(message.toString("latin1", at + 1, at + 1 + length));
    at += 1 + length;
  }
  const question = message.subarray(HEADER, at + 5);
  const isKnown = names.includes(labels.join(".").toLowerCase());
  const hasAddress = isKnown && message.readUInt16BE(at + 1) === TYPE_A;
  const header = Buffer.from([
    0,
    0,
    0x81,
    isKnown ? 0x80 : 0x80 | NO_SUCH_NAME,
    0,
    1,
    0,
    hasAddress ? 1 : 0,
    0,
    0,
    0,
    0,
  ]);
  header.set(message.subarray(0, 2));
  const record = Buffer.from([0xc0, HEADER, 0, TYPE_A, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
  return Buffer.concat([header, question, ...(hasAddress ? [record] : [])]);
}
