import type { Format } from "../core/ports.ts";
import { isPem, renderCertificates } from "./pem.ts";

/** Key, leaf, intermediates in one file: HAProxy, hitch, lighttpd. */
export const combined: Format = {
  name: "combined",
  holdsKey: true,
  render: ({ key, chain }) => Buffer.concat([Buffer.from(key.toPem(), "latin1"), renderCertificates(chain)]),
  recognizes: isPem,
};
