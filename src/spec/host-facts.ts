import { hostname } from "node:os";
import { type CanonicalName, canonicalName } from "../base/canonical-name.ts";
import { SECOND } from "../base/time.ts";

/** What a spec may say about this host, as `${fqdn}` and `${hostname}`; null where the host has no usable name. */
export interface HostFacts {
  /** The full name; without a domain the same as `hostname`. */
  readonly fqdn: string | null;
  /** The name up to its first dot. */
  readonly hostname: string | null;
}

/** What a host is called that nobody has given a name yet; a certificate for that is of use to nobody. */
const UNNAMED = /^localhost\d?(\.|$)/;

const HOST_NAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;

/**
 * This host's facts, once for a process. The domain is the resolver's (as with `hostname -f`: `/etc/hosts` or DNS), asked
 * for five seconds at most and not at all where the kernel's name has one already. Never throws.
 */
export async function readHostFacts(
  ask: CanonicalName = canonicalName,
  kernelName: string = hostname(),
): Promise<HostFacts> {
  const own = hostNameOf(kernelName);
  if (own === null) return { fqdn: null, hostname: null };
  const [short = own] = own.split(".", 1);
  if (own.includes(".")) return { fqdn: own, hostname: short };
  const full = hostNameOf((await ask(own, 5 * SECOND)) ?? "");
  return { fqdn: full ?? own, hostname: short }; // some hosts resolve their name to the loopback's line
}

/** A DHCP server may name a host anything: only what is safe in a file name and in a certificate is a fact. */
function hostNameOf(text: string): string | null {
  const name = text.toLowerCase().replace(/\.$/, "");
  return name.length <= 253 && HOST_NAME.test(name) && !UNNAMED.test(name) ? name : null;
}

/** For a file that is meant for other hosts: it is judged whatever this one is called. */
export function anyNames({ fqdn, hostname: short }: HostFacts): HostFacts {
  return { fqdn: fqdn ?? "host.example.com", hostname: short ?? "host" };
}

/** Replaces `${fqdn}` and `${hostname}` in a text; every other `${` is a complaint. */
export function substitute(
  text: string,
  facts: HostFacts,
): string | { readonly message: string; readonly hint: string } {
  if (!text.includes("${")) return text;
  let complaint: { message: string; hint: string } | undefined;
  const replaced = text.replaceAll(/\$\{([^}]*)(\}?)/g, (whole, name: string, end: string) => {
    if (end === "" || (name !== "fqdn" && name !== "hostname")) {
      // biome-ignore lint/suspicious/noTemplateCurlyInString: these are the words of specs
      const what = end === "" ? "is not closed" : "is no fact of this host";
      complaint ??= { message: `${whole} ${what}`, hint: "known are ${fqdn} and ${hostname}" };
      return whole;
    }
    const value = facts[name];
    if (value !== null) return value;
    complaint ??= {
      message: `${whole} is not known: this host has no name that a certificate could be for`,
      hint: "set it with hostnamectl set-hostname, then restart certagent",
    };
    return whole;
  });
  return complaint ?? replaced;
}
