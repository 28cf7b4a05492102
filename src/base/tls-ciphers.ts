import { DEFAULT_CIPHERS } from "node:tls";

/**
 * What a TLS connection is offered: Node's list without finite-field Diffie-Hellman. A server chooses its numbers, and one
 * handshake with 10,000 bits costs half a second in which nothing else runs. No browser and no Go program speaks it.
 */
export const CIPHERS = `${DEFAULT_CIPHERS}:!DHE`;
