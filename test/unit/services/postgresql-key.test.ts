import { expect, test } from "vitest";
import type { Output } from "../../../src/core/ports.ts";
import { keyRefusal } from "../../../src/services/postgresql-key.ts";
import { outputsAt } from "../../servers/service.ts";

const reader = (permissions: string): Output["acl"] => [{ tag: "user", qualifier: "postgres", permissions }];

function refused(key: Partial<Output>): string | undefined {
  return keyRefusal(outputsAt({ certificate: "/pg/server.crt", key: "/pg/server.key" }, key))?.message;
}

// As PostgreSQL 15 was seen to take or refuse them.
test.for<[string, Partial<Output>]>([
  ["its own, for itself", { owner: "postgres", mode: 0o600 }],
  ["its own, read-only", { owner: "postgres", mode: 0o400 }],
  ["root's, readable by its group", { owner: "root", group: "ssl-cert", mode: 0o640 }],
  ["root's, readable by its group alone", { owner: "0", group: "postgres", mode: 0o440 }],
  ["root's, readable by an ACL entry", { owner: "root", mode: 0o640, acl: reader("r") }],
])("PostgreSQL takes a key that is %s", ([, key]) => {
  expect(refused(key)).toBeUndefined();
});

test.for<[string, Partial<Output>, string]>([
  ["its own and its group's", { owner: "postgres", mode: 0o640 }, "mode 0640, and a key of its own user"],
  ["its own and readable by another's ACL entry", { owner: "postgres", mode: 0o640, acl: reader("r") }, "ACL entries"],
  [
    "root's and writable by its group",
    { owner: "root", group: "postgres", mode: 0o660 },
    "mode 0660, and a key of root",
  ],
  ["root's and writable by an ACL entry", { owner: "root", mode: 0o660, acl: reader("rw") }, "mode 0660"],
  [
    "root's and readable by root alone",
    { owner: "root", group: "root", mode: 0o600 },
    "it belongs to root and group root",
  ],
])("PostgreSQL refuses a key that is %s", ([, key, words]) => {
  expect(refused(key)).toContain(words);
});

test("only the key is judged", () => {
  expect(keyRefusal(outputsAt({ certificate: "/a", key: "/b" }, { owner: "postgres" }).slice(0, 1))).toBeUndefined();
});

test("a key that is another service's is no obstacle beside one that PostgreSQL takes", () => {
  const another = outputsAt({ certificate: "/nginx/a.pem", key: "/nginx/a.key" }, { owner: "root", group: "root" });
  const refused = outputsAt({ certificate: "/pg/a.pem", key: "/pg/a.key" }, { owner: "postgres", mode: 0o640 });
  const taken = outputsAt({ certificate: "/pg/b.pem", key: "/pg/b.key" }, { owner: "postgres" });

  expect(keyRefusal([...another, ...taken])).toBeUndefined();
  expect(keyRefusal([...another, ...refused])?.message).toContain("/nginx/a.key");
});
