/** RESP2, the protocol of Redis: only what a few commands of words and their answers need. */
import { AgentError } from "../base/errors.ts";

/** An error reply is data: which ones matter, the asker knows. */
export type Reply = string | number | null | { readonly error: string } | readonly Reply[];

/** A reply of a command that we send is short; a longer one is not Redis. */
const MOST_BYTES = 64 * 1024;
const MOST_DEPTH = 4;

/** One command as an array of bulk strings: no word needs quoting. */
export function encodeCommand(words: readonly string[]): Buffer {
  const parts = words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`);
  return Buffer.from(`*${words.length}\r\n${parts.join("")}`);
}

/** The first reply in `bytes` and where it ends; undefined where it is not complete. Throws where it is no RESP. */
export function readReply(bytes: Buffer, start = 0, depth = 0): { reply: Reply; end: number } | undefined {
  if (bytes.length > MOST_BYTES || depth > MOST_DEPTH) throw notRedis("a reply is too long");
  const lineEnd = bytes.indexOf("\r\n", start);
  if (lineEnd < 0) return undefined;
  const text = bytes.toString("utf8", start + 1, lineEnd);
  const end = lineEnd + 2;
  switch (bytes.toString("latin1", start, start + 1)) {
    case "+":
      return { reply: text, end };
    case "-":
      return { reply: { error: text }, end };
    case ":":
      return { reply: count(text), end };
    case "$":
      return readBulk(bytes, count(text), end);
    case "*":
      return readArray(bytes, count(text), end, depth);
    default:
      throw notRedis("its answer is no RESP");
  }
}

function readBulk(bytes: Buffer, length: number, start: number): { reply: Reply; end: number } | undefined {
  if (length < 0) return { reply: null, end: start };
  const end = start + length + 2;
  if (length > MOST_BYTES) throw notRedis("a reply is too long");
  return bytes.length < end ? undefined : { reply: bytes.toString("utf8", start, end - 2), end };
}

function readArray(
  bytes: Buffer,
  length: number,
  start: number,
  depth: number,
): { reply: Reply; end: number } | undefined {
  const replies: Reply[] = [];
  let end = start;
  if (length < 0) return { reply: null, end };
  while (replies.length < length) {
    const next = readReply(bytes, end, depth + 1);
    if (next === undefined) return undefined;
    replies.push(next.reply);
    end = next.end;
  }
  return { reply: replies, end };
}

function count(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw notRedis("its answer is no RESP");
  return Number(text);
}

function notRedis(fact: string): AgentError {
  return new AgentError("RELOAD_FAILED", `Cannot understand Redis: ${fact}`);
}
