import { SECOND } from "../../base/time.ts";
import type { CertificateRequest } from "../../core/ports.ts";
import type { Chain } from "../../x509/chain.ts";
import { type Call, chainOf, isSuccess, type Reply, type Session } from "./session.ts";

/** `POST /sign` with a token that is made for the very address. */
export function signCall(request: CertificateRequest, csr: string, token: (origin: string) => Promise<string>): Call {
  const { lifetime } = request;
  // Go's durations know no days. It counts from now, so that the leaf lives for a backdate longer.
  const length = lifetime === null ? {} : { notAfter: `${Math.max(1, Math.round(lifetime / SECOND))}s` };
  const fill = async (origin: string) => ({ body: JSON.stringify({ csr, ott: await token(origin), ...length }) });
  return { action: "mint", method: "POST", path: "/sign", fill };
}

/** The chain of a success; everything else throws. */
export function signedChain(session: Session, call: Call, reply: Reply): Chain {
  if (!isSuccess(reply)) throw session.errorOf(call, reply);
  return chainOf(call, reply);
}
