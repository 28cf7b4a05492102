import { access } from "node:fs/promises";
import { AgentError } from "../../base/errors.ts";
import { SECOND } from "../../base/time.ts";
import type { System } from "../../core/ports.ts";

/**
 * SELinux's label for a file that is staged in its final folder (a file made elsewhere and moved keeps the wrong one).
 * Undefined where SELinux is not mounted: then there is nothing to do.
 */
export async function openRelabel({
  ask,
}: Pick<System, "ask">): Promise<((path: string) => Promise<void>) | undefined> {
  try {
    await access("/sys/fs/selinux/enforce");
  } catch {
    return undefined;
  }
  return async (path) => {
    const { exitCode, output } = await ask(["restorecon", "-F", path], { timeout: 10 * SECOND });
    if (exitCode === 0) return;
    throw new AgentError("DEPLOY_FAILED", `Cannot label "${path}": ${output.trim()}`, {
      hint: "restorecon -Fv on the folder shows what SELinux's policy says",
    });
  };
}
