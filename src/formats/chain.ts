import type { Format } from "../core/ports.ts";
import { isPem, renderCertificates } from "./pem.ts";

/** The intermediates alone; empty where the root issued the leaf. */
export const chain: Format = {
  name: "chain",
  holdsKey: false,
  render: ({ chain: [, ...intermediates] }) => renderCertificates(intermediates),
  recognizes: isPem,
};
