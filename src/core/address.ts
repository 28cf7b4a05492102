import type { Address, ProbeTarget } from "./ports.ts";

/** `127.0.0.1:443`, `[::1]:443` or the path of a unix socket. */
export function addressText(address: Address): string {
  if ("path" in address) return address.path;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}

/** Each place that a target names, as a target of its own. */
export function placesOf({ besides = [], ...target }: ProbeTarget): readonly [ProbeTarget, ...ProbeTarget[]] {
  return [target, ...besides.map((address) => ({ ...target, address }))];
}

/** All of them, for people. */
export function placesText(target: ProbeTarget): string {
  return placesOf(target)
    .map(({ address }) => addressText(address))
    .join(", ");
}

/**
 * Whether an address is one at all. A service's own configuration may say anything, also to harm: it becomes an argument
 * of a program, and of the facts that are told for all specs together.
 */
export function isAddress(address: Address): boolean {
  if ("path" in address) return /^\/[^\0]{0,106}$/.test(address.path);
  const { host, port } = address;
  return Number.isInteger(port) && port >= 1 && port <= 65_535 && /^[\w:][\w.:%-]{0,252}$/.test(host);
}
