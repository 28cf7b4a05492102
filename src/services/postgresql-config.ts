import type { Address, Output } from "../core/ports.ts";

export async function clusterAddress(_outputs: readonly Output[]): Promise<Address> {
  return { host: "127.0.0.1", port: 5432 };
}
