/** What process 1 owes to all others; in a container certagent may be that. */
import { loadLibc } from "./libc.ts";
import { type Milliseconds, pause } from "./time.ts";

/** From <bits/waitflags.h> and <sys/wait.h>, alike on x86-64 and arm64. */
const WAIT = { P_ALL: 0, WNOHANG: 1, WEXITED: 4, WNOWAIT: 0x0100_0000 } as const;
/** siginfo_t on 64 bits: how long it is, and where si_pid stands in it. */
const SIGINFO = { length: 128, pid: 16 } as const;
const STEP: Milliseconds = 10;

let isReaping = false;

/**
 * From now on asks of each process that has ended how that was. Where its parent ended before it, it has become a child of
 * process 1, and counts as alive until it is asked (a zombie): who stops a daemon and waits for that, as init scripts do,
 * would wait in vain. The processes `own` are left to Node, which asks for those it has started. Called again it does nothing.
 */
export async function reapOrphans(own: ReadonlySet<number>): Promise<void> {
  if (isReaping) return;
  isReaping = true;
  const { waitid, waitpid } = await loadLibc();
  const someoneEnded = (): number => {
    const info = Buffer.alloc(SIGINFO.length);
    waitid(WAIT.P_ALL, 0, info, WAIT.WEXITED | WAIT.WNOHANG | WAIT.WNOWAIT);
    return info.readInt32LE(SIGINFO.pid);
  };
  let isAtWork = false;
  const reap = async (): Promise<void> => {
    if (isAtWork) return;
    isAtWork = true;
    for (let pid = someoneEnded(); pid !== 0; pid = someoneEnded()) {
      if (own.has(pid)) await pause(STEP);
      else waitpid(pid, null, WAIT.WNOHANG);
    }
    isAtWork = false;
  };
  process.on("SIGCHLD", () => void reap());
  await reap();
}
