import type { z } from "zod";
import type { Clock, Instant } from "../base/time.ts";
import type { Issuer } from "../core/ports.ts";
import type { KeptSecrets } from "./kept-secrets.ts";

/** What an issuer may use of the world besides the network. */
export interface IssuerContext {
  readonly clock: Clock;
  /** `certagent/VERSION`, sent with every request. */
  readonly userAgent: string;
  /** systemd's folder of credentials ($CREDENTIALS_DIRECTORY); undefined where there is none. */
  readonly credentialsDirectory?: string | undefined;
  /** A folder of the agent's own for what may be fetched again: roots that were pinned by fingerprint. */
  readonly cacheFolder?: string | undefined;
  /** Another one for what must not be forgotten: the marks of one-time tokens that were sent. */
  readonly spentFolder?: string | undefined;
  /** Where secrets are kept whose files were deleted after use; absent where that ends with the issuer. */
  readonly keptSecrets?: KeptSecrets | undefined;
  /** Has somebody who may do so remove the issuer's used secret, where it was there before `used`. */
  readonly removeForMe?: ((used: Instant) => Promise<void>) | undefined;
}

/** One kind of CA: what operators write for it, and what that becomes. */
export interface IssuerKind<Type extends string, Schema extends z.ZodType> {
  readonly type: Type;
  readonly schema: Schema;
  readonly create: (name: string, config: z.output<Schema>, context: IssuerContext) => Issuer;
}
