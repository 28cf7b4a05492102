import type { Format } from "../core/ports.ts";
import { isPem, renderCertificates } from "./pem.ts";

/** The issuer's trust anchors, for servers that verify their clients. */
export const roots: Format = {
  name: "roots",
  holdsKey: false,
  holdsAnchors: true,
  render: ({ roots: anchors }) => renderCertificates(anchors),
  recognizes: isPem,
};
