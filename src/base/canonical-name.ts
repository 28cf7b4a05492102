/**
 * The full name of a host as `hostname -f` gives it: the first answer of getaddrinfo(3) with AI_CANONNAME, so whatever
 * nsswitch.conf names is asked (`/etc/hosts`, systemd-resolved, DNS, a directory).
 *
 * Node's own `dns.lookup` asks the same and keeps that name to itself. glibc asks in a thread of its own where it is
 * called as getaddrinfo_a(3), which a resolver that is dead holds up in place of us.
 */
import { Buffer } from "node:buffer";
import { type Milliseconds, pause, systemClock } from "./time.ts";

/** Gives the full name of a host; undefined where nobody knows one, or nobody said so in time. Never rejects. */
export type CanonicalName = (host: string, timeout: Milliseconds) => Promise<string | undefined>;

/** From <netdb.h> and <sys/socket.h>, as they are on 64-bit Linux. */
const AI_CANONNAME = 2;
const SOCK_DGRAM = 2;
const GAI_NOWAIT = 1;
const EAI_INPROGRESS = -100;
/** `struct addrinfo`: ai_flags, ai_family, ai_socktype, …, ai_canonname. */
const ADDRINFO = { size: 48, flags: 0, socketType: 8, canonicalName: 32 };
/** `struct gaicb`: ar_name, ar_service, ar_request, ar_result, and what glibc keeps there. */
const GAICB = { size: 56, name: 0, request: 16, result: 24 };

/** What glibc's thread reads and writes: it must stay where it is until the thread has ended, however long that takes. */
const inProgress = new Set<readonly Buffer[]>();

export const canonicalName: CanonicalName = async (host, timeout) => {
  try {
    return await ask(host, timeout);
  } catch {
    return undefined; // another libc than glibc
  }
};

async function ask(host: string, timeout: Milliseconds): Promise<string | undefined> {
  const { getRawPointer, getUint64, toString } = await import("node:ffi");
  const { getaddrinfo_a, gai_error, freeaddrinfo } = await load();
  const name = Buffer.from(`${host}\0`);
  const hints = Buffer.alloc(ADDRINFO.size);
  hints.writeInt32LE(AI_CANONNAME, ADDRINFO.flags);
  hints.writeInt32LE(SOCK_DGRAM, ADDRINFO.socketType);
  const request = Buffer.alloc(GAICB.size);
  request.writeBigUInt64LE(getRawPointer(name), GAICB.name);
  request.writeBigUInt64LE(getRawPointer(hints), GAICB.request);
  const list = Buffer.alloc(8);
  list.writeBigUInt64LE(getRawPointer(request));

  if (getaddrinfo_a(GAI_NOWAIT, list, 1, null) !== 0) return undefined;
  const memory = [name, hints, request, list];
  inProgress.add(memory);
  const end = systemClock.monotonic() + timeout;
  for (let wait = 1; gai_error(request) === EAI_INPROGRESS; wait = Math.min(2 * wait, 50)) {
    if (systemClock.monotonic() >= end) return undefined;
    await pause(wait);
  }
  inProgress.delete(memory);
  if (gai_error(request) !== 0) return undefined;
  const first = request.readBigUInt64LE(GAICB.result);
  const found = toString(getUint64(first, ADDRINFO.canonicalName));
  freeaddrinfo(first);
  return found ?? undefined;
}

/** Before glibc 2.34 they are in a library of their own. */
async function load() {
  const { dlopen } = await import("node:ffi");
  const open = (library: string | null) =>
    dlopen(library, {
      getaddrinfo_a: { arguments: ["i32", "buffer", "i32", "pointer"], return: "i32" },
      gai_error: { arguments: ["buffer"], return: "i32" },
      freeaddrinfo: { arguments: ["pointer"], return: "void" },
    }).functions;
  try {
    return open(null);
  } catch {
    return open("libanl.so.1");
  }
}
