import type { Output, ProbeTarget, System } from "../core/ports.ts";

export async function servedByNginx(
  _system: System,
  _outputs: readonly Output[],
  _signal: AbortSignal,
): Promise<ProbeTarget | undefined> {
  return undefined;
}
