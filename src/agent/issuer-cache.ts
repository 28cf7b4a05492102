import { AgentError } from "../base/errors.ts";
import type { Issuer } from "../core/ports.ts";
import type { Host } from "../spec/host.ts";

/** What the host configuration says of one issuer. */
export type IssuerConfig = Host["issuers"] extends ReadonlyMap<string, infer Config> ? Config : never;

/** The issuers of the host configuration in force. One that did not change stays the same object, with its secrets. */
export interface IssuerCache {
  /** Takes another host configuration; answers whether anything changed but the first time. */
  configure(host: Pick<Host, "issuers"> | undefined): boolean;
  /** Has each issuer that nobody waits for forget what it keeps of used secrets. */
  forgetSecrets(isAwaited: (issuer: string) => boolean): void;
  /** Throws `SPEC_INVALID` where there is none of that name. */
  get(name: string): Issuer;
}

export function issuerCache(create: (name: string, config: IssuerConfig) => Issuer): IssuerCache {
  const issuers = new Map<string, { readonly text: string; readonly issuer: Issuer }>();
  let isConfigured = false;

  return {
    configure: (host) => {
      if (host === undefined) return false;
      const isFirst = !isConfigured;
      isConfigured = true;
      let changed = false;
      for (const [name, config] of host.issuers) {
        const text = JSON.stringify(config);
        if (issuers.get(name)?.text === text) continue;
        issuers.set(name, { text, issuer: create(name, config) });
        changed = true;
      }
      for (const [name, { issuer }] of issuers) {
        if (host.issuers.has(name)) continue;
        issuer.noneWaits();
        issuers.delete(name);
      }
      return changed && !isFirst;
    },
    forgetSecrets: (isAwaited) => {
      for (const [name, { issuer }] of issuers) if (issuer.holdsSecret() && !isAwaited(name)) issuer.noneWaits();
    },
    get: (name) => {
      const known = issuers.get(name);
      if (known !== undefined) return known.issuer;
      throw new AgentError("SPEC_INVALID", `Cannot use issuer "${name}": the host configuration does not have it`, {
        hint: "certagent check",
      });
    },
  };
}
