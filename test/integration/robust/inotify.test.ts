/** A user of whom too many files are watched on this host. Needs root. */
import { join } from "node:path";
import { expect, test } from "vitest";
import { makeHome, startAgent } from "../../servers/program.ts";

/** The bound of a user namespace of its own. */
const LIMIT = "/proc/sys/user/max_inotify_instances";

test("an agent that may watch nothing says what to raise, once, and sees a new spec within a round", async () => {
  await using home = await makeHome({ issuers: {} });
  const through = ["unshare", "--user", "--map-root-user", "sh", "-c", `echo 0 >${LIMIT} && exec "$@"`, "sh"];
  await using agent = await startAgent(home, { through });
  const told = (): readonly string[] => agent.journal().filter((line) => line.includes("cannot watch"));
  await expect.poll(told).not.toEqual([]);

  await home.write("web", `subject: web.internal\noutputs: [{ format: key, path: ${join(home.folder, "web.key")} }]\n`);

  await agent.until("the spec is there", (all) => all.has("web"));
  expect(told()).toEqual([expect.stringContaining("sysctl fs.inotify.max_user_instances")]);
});
