import type { IssuerKind } from "../kind.ts";
import { stepCaConfig } from "./config.ts";
import { createStepCa } from "./issuer.ts";

export const stepCa: IssuerKind<"step-ca", typeof stepCaConfig> = {
  type: "step-ca",
  schema: stepCaConfig,
  create: createStepCa,
};
