import type { Milliseconds } from "../base/time.ts";
import type { Address, Generation, Liveness, Output, ProbeTarget } from "../core/ports.ts";

/** How to reach Redis and who to be there. */
export interface Control {
  readonly address: Address;
  readonly tls: boolean;
  readonly username: string | undefined;
  readonly passwordFile: string | undefined;
}

export function showControl({ address }: Control): string {
  return "path" in address ? address.path : `${address.host}:${address.port}`;
}
export async function takePair(
  _control: Control,
  _x: { outputs: readonly Output[]; generation: Generation; timeout: Milliseconds },
  _signal: AbortSignal,
): Promise<string | undefined> {
  return undefined;
}
export async function isListening(_control: Control, _signal: AbortSignal): Promise<Liveness> {
  return "unknown";
}
export async function redisProbe(_control: Control, _signal: AbortSignal): Promise<ProbeTarget | undefined> {
  return undefined;
}
