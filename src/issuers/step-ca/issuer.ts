import type { Issuer } from "../../core/ports.ts";
import type { IssuerContext } from "../kind.ts";
import type { StepCaConfig } from "./config.ts";

/** An issuer that speaks to one step-ca (0.19 and later). Does no I/O by itself. */
export function createStepCa(name: string, config: StepCaConfig, context: IssuerContext): Issuer {
  return {
    name,
    type: config.type,
    roots: () => Promise.reject(new Error(`${context.userAgent}: not there yet`)),
    issue: () => Promise.reject(new Error("not there yet")),
    specsWaiting: () => {},
  };
}
