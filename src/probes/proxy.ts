import type { Probe } from "../core/ports.ts";
import { type AskForTls, servedLeaf } from "./handshake.ts";

/** TLS behind the header by which a proxy tells whom it speaks for: here nobody (HAProxy, "The PROXY protocol", 2.1). */
export const proxy: Probe = (target, signal) => servedLeaf(target, signal, askByHeader);

const askByHeader: AskForTls = async (raw) => void raw.write("PROXY UNKNOWN\r\n");
