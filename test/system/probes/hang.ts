/** Loaded before certagent: lets its loop hang for good once a file is there. */
import { existsSync, rmSync } from "node:fs";

const SIGN = "/var/lib/certagent/agent/hang";

setInterval(() => {
  if (!existsSync(SIGN)) return;
  rmSync(SIGN);
  for (;;);
}, 100).unref();
