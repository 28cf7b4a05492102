import type { Address } from "./ports.ts";

/** `127.0.0.1:443`, `[::1]:443` or the path of a unix socket. */
export function addressText(address: Address): string {
  if ("path" in address) return address.path;
  return address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`;
}
