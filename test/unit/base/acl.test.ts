import { open } from "node:fs/promises";
import { expect, test } from "vitest";
import { setAcl } from "../../../src/base/acl.ts";
import { cannotRun, type Run } from "../../../src/base/run.ts";

test.each([
  ["ENOENT", "setfacl is not installed", "apt install acl (dnf install acl)"],
  ["EAGAIN", 'cannot run "setfacl": no more processes may be started', "raise TasksMax= of certagent's unit"],
])("setfacl that cannot be started for %s is told of as it is", async (code, fact, hint) => {
  await using handle = await open("/dev/null");
  const file = { fd: handle.fd, isDirty: false, close: async () => {} };
  const run: Run = () => Promise.reject(cannotRun("setfacl", code, Object.assign(new Error(code), { code })));

  await expect(setAcl(run, file, "/etc/web.key", 0o640, [])).rejects.toMatchObject({
    code: "DEPLOY_FAILED",
    message: `Cannot look after the ACL of "/etc/web.key": ${fact}`,
    hint,
  });
});
