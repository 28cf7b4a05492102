import * as z from "zod";
import type { Issuer } from "../core/ports.ts";
import type { IssuerContext } from "./kind.ts";
import { stepCa } from "./step-ca/kind.ts";

/** The kinds of CA that this version knows. */
const ISSUERS = [stepCa] as const;

/** One entry of `issuers:` in the host configuration. */
export const issuerSchema = z
  .discriminatedUnion("type", [stepCa.schema])
  .meta({ description: "A CA that certificates can be had from" });

export type IssuerConfig = z.output<typeof issuerSchema>;

/** The issuer of one entry of the host configuration. Does no I/O. */
export function createIssuer(name: string, config: IssuerConfig, context: IssuerContext): Issuer {
  const kind = ISSUERS.find(({ type }) => type === config.type);
  if (kind === undefined) throw new TypeError(`no issuer of type ${config.type}`);
  return kind.create(name, config, context);
}
