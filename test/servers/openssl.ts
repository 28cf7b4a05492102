import { spawnSync } from "node:child_process";

/** Runs openssl, as the independent judge of what certagent reads and writes. Returns whether it agreed, and its words. */
export function openssl(
  argv: readonly string[],
  input?: string | Uint8Array,
): { readonly ok: boolean; readonly output: string } {
  const { error, status, stdout, stderr } = spawnSync("openssl", argv, { input: input ?? "", encoding: "latin1" });
  if (error !== undefined) throw error;
  return { ok: status === 0, output: stdout + stderr };
}

/** Runs openssl, which must succeed, and returns what it wrote to its standard output. */
export function opensslText(argv: readonly string[], input?: string | Uint8Array): string {
  const { error, status, stdout, stderr } = spawnSync("openssl", argv, { input: input ?? "", encoding: "latin1" });
  if (error !== undefined || status !== 0) throw error ?? new Error(`openssl ${argv.join(" ")}: ${stderr}`);
  return stdout;
}
