import { AgentError, type ErrorCode } from "../base/errors.ts";

/** More than this is refused before anything is looked at: a chain is a few kilobytes. */
export const MOST_PEM_BYTES = 64 * 1024;
/** More blocks than this are refused: a chain has two to four. */
export const MOST_PEM_BLOCKS = 10;

export interface PemBlock {
  readonly label: string;
  readonly bytes: Uint8Array<ArrayBuffer>;
}

export interface PemReading {
  /** The labels to return: `CERTIFICATE`, `PRIVATE KEY`, … */
  readonly labels: readonly string[];
  /**
   * `answer`: what a CA sends holds blocks of these labels and white space, and nothing else. `file`: what people keep
   * on disk may hold explanatory text (`openssl x509 -text`) and blocks of other labels, which are passed over unread.
   */
  readonly policy: "answer" | "file";
  readonly code: Extract<ErrorCode, "CHAIN_UNUSABLE" | "KEY_UNUSABLE">;
}

const BEGIN = /^-----BEGIN ([A-Z0-9 ]{1,40})-----[ \t]*$/;
const END = /^-----END ([A-Z0-9 ]{1,40})-----[ \t]*$/;

/**
 * The blocks of a PEM text (RFC 7468), in order; none is no error. One pass over the lines, so that hostile text costs
 * no more than honest text. Throws `reading.code`.
 */
export function decodePem(pem: string | Uint8Array, reading: PemReading): readonly PemBlock[] {
  const refuse = (fact: string): AgentError => new AgentError(reading.code, `Cannot read PEM: ${fact}`);
  if (pem.length > MOST_PEM_BYTES) throw refuse(`${pem.length} bytes are more than ${MOST_PEM_BYTES}`);
  const text = typeof pem === "string" ? pem : Buffer.from(pem.buffer, pem.byteOffset, pem.length).toString("latin1");
  const blocks: PemBlock[] = [];
  let count = 0;
  let open: { readonly label: string; readonly body: string[] } | undefined;
  for (const line of text.split(/\r?\n/)) {
    const begin = BEGIN.exec(line)?.[1];
    const end = END.exec(line)?.[1];
    if (begin !== undefined) {
      if (open !== undefined) throw refuse(`a block "${begin}" begins inside the block "${open.label}"`);
      if (++count > MOST_PEM_BLOCKS) throw refuse(`there are more than ${MOST_PEM_BLOCKS} blocks`);
      open = { label: begin, body: [] };
    } else if (end !== undefined) {
      if (open?.label !== end) throw refuse(`a block "${end}" ends that did not begin`);
      if (reading.labels.includes(end)) blocks.push({ label: end, bytes: decodeBody(open.body.join("\n"), refuse) });
      else if (reading.policy === "answer") throw refuse(`a block "${end}" does not belong here`);
      open = undefined;
    } else if (open !== undefined) {
      open.body.push(line);
    } else if (reading.policy === "answer" && line.trim() !== "") {
      throw refuse("there is text outside the blocks");
    }
  }
  if (open !== undefined) throw refuse(`the block "${open.label}" does not end`);
  return blocks;
}

function decodeBody(body: string, refuse: (fact: string) => AgentError): Uint8Array<ArrayBuffer> {
  let bytes: Uint8Array<ArrayBuffer>;
  try {
    bytes = Uint8Array.fromBase64(body, { lastChunkHandling: "strict" });
  } catch {
    // The engine's own message would quote the text, and the text may be a key.
    throw refuse("a block is not base64");
  }
  if (bytes.length === 0) throw refuse("a block is empty");
  return bytes;
}

/** One block with lines of 64 characters and a final newline (RFC 7468, section 2). */
export function encodePem(label: string, bytes: Uint8Array): string {
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");
  return `-----BEGIN ${label}-----\n${body.replace(/.{1,64}/g, "$&\n")}-----END ${label}-----\n`;
}
