import { apply } from "./apply.ts";
import { bootstrap } from "./bootstrap.ts";
import { check } from "./check.ts";
import type { Command } from "./command.ts";
import { demo } from "./demo.ts";
import { help } from "./help.ts";
import { once } from "./once.ts";
import { plan } from "./plan.ts";
import { renew } from "./renew.ts";
import { run } from "./run.ts";
import { schema } from "./schema.ts";
import { status } from "./status.ts";
import { version } from "./version.ts";

/** Everything that certagent can be asked to do, in the order of the help. Heavy modules are loaded by their `run`. */
export const COMMANDS: readonly Command[] = [
  run,
  once,
  check,
  plan,
  status,
  renew,
  apply,
  bootstrap,
  schema,
  demo,
  help,
  version,
];
