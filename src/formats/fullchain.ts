import type { Format } from "../core/ports.ts";
import { isPem, renderCertificates } from "./pem.ts";

/** The leaf, then its intermediates: what almost every server wants. */
export const fullchain: Format = {
  name: "fullchain",
  holdsKey: false,
  render: ({ chain }) => renderCertificates(chain),
  recognizes: isPem,
};
