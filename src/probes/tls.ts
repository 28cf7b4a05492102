import type { Probe } from "../core/ports.ts";
import { servedLeaf } from "./handshake.ts";

/** TLS from the first byte: HTTPS, Redis, LDAPS, IMAPS, exporters. */
export const tls: Probe = (target, signal) => servedLeaf(target, signal);
