import { AgentError } from "../../base/errors.ts";
import type { CertificateRequest } from "../../core/ports.ts";
import type { Chain } from "../../x509/chain.ts";
import type { PrivateKey } from "../../x509/key.ts";
import type { StepCaConfig } from "./config.ts";
import { commandFor } from "./operator.ts";
import type { Session } from "./session.ts";
import type { Secret, Vault } from "./vault.ts";

/** What is to be minted. */
export interface Wish {
  readonly request: CertificateRequest;
  readonly key: PrivateKey;
  /** Hears of a used secret that could not be deleted. */
  readonly complain: (error: AgentError) => void;
}

/** A way to a first certificate: by tokens that were made elsewhere, or by the provisioner's own key. */
export interface Minter {
  /** Throws `CREDENTIAL_MISSING`, with the command that puts one in place, and `ISSUER_*`. */
  readonly mint: (session: Session, wish: Wish) => Promise<Chain>;
  /** Whether there is anything that `clear` would forget. */
  readonly isHolding: () => boolean;
  /** Forgets every secret, and what was made of one. */
  readonly clear: () => void;
}

/** `CREDENTIAL_MISSING`, with the command that puts a secret in place. */
export function credentialMissing(config: StepCaConfig, request: CertificateRequest, fact: string): AgentError {
  return new AgentError("CREDENTIAL_MISSING", `Cannot mint: ${fact}`, { hint: commandFor(config, request) });
}

/** What there is to mint with; where it cannot be read, or is empty, with the command that puts one in place. */
export async function secretsIn(
  vault: Vault,
  config: StepCaConfig,
  request: CertificateRequest,
): Promise<readonly Secret[]> {
  try {
    return await vault.secrets();
  } catch (error) {
    if (!(error instanceof AgentError) || error.hint !== undefined) throw error;
    throw new AgentError(error.code, error.message, { hint: commandFor(config, request), cause: error });
  }
}
