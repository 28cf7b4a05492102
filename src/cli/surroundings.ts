import type { Surroundings } from "./assemble.ts";
import type { World } from "./command.ts";
import { VERSION } from "./version.ts";

/** What putting the agent together needs of the world, all but its log. */
export function surroundingsOf({ clock, run, uid, env }: World): Omit<Surroundings, "log"> {
  return { clock, run, uid, version: VERSION, credentialsDirectory: env["CREDENTIALS_DIRECTORY"] };
}
