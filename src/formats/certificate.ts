import type { Format } from "../core/ports.ts";
import { isPem, renderCertificates } from "./pem.ts";

/** The leaf alone, for programs that take the intermediates from another file. */
export const certificate: Format = {
  name: "certificate",
  holdsKey: false,
  render: ({ chain }) => renderCertificates(chain.slice(0, 1)),
  recognizes: isPem,
};
