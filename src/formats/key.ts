import type { Format } from "../core/ports.ts";
import { isPem } from "./pem.ts";

/** The private key as PKCS#8, which every server takes. */
export const key: Format = {
  name: "key",
  holdsKey: true,
  render: ({ key: privateKey }) => Buffer.from(privateKey.toPem(), "latin1"),
  recognizes: isPem,
};
