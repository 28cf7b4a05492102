import { hostname } from "node:os";
import { expect, test } from "vitest";
import { run } from "../../../src/base/run.ts";
import { readFacts, substitute } from "../../../src/spec/facts.ts";

const facts = { fqdn: "vm1.internal", hostname: "vm1" };

test.each([
  ["web.internal", "web.internal"],
  ["${fqdn}", "vm1.internal"],
  ["${hostname}.example.com", "vm1.example.com"],
  ["/etc/${hostname}/${fqdn}.pem", "/etc/vm1/vm1.internal.pem"],
  ["$fqdn {hostname} $", "$fqdn {hostname} $"],
])("substitute() makes %j into %j", (text, expected) => {
  expect(substitute(text, facts)).toBe(expected);
});

test.each(["${domain}", "${}", "${fqdn", "${ fqdn }", "${FQDN}", "a${hostname}b${x}", "${fqdn}${"])(
  "substitute() names the facts that there are for %j",
  (text) => {
    expect(substitute(text, facts)).toMatchObject({ hint: "known are ${fqdn} and ${hostname}" });
  },
);

test("a fact is not substituted a second time, whatever a host is called", () => {
  expect(substitute("${fqdn}", { fqdn: "$&.${hostname}", hostname: "vm1" })).toBe("$&.${hostname}");
});

test("a spec that needs a name that the host does not have is told so", () => {
  expect(substitute("${fqdn}", { fqdn: null, hostname: null })).toMatchObject({
    message: "${fqdn} is not known: the name of this host cannot stand in a certificate",
  });
});

test("the facts are those of this host, in lower case and without its domain", async () => {
  const { hostname: short } = await readFacts(run);

  expect(short).toBe(hostname().toLowerCase().split(".")[0]);
});

const answer = (output: string, exitCode: number | null = 0) => ({ exitCode, output, signal: null, timedOut: false });

test.each([
  ["a domain", answer("VM1.Example.COM\n"), "vm1.example.com"],
  ["no domain", answer("vm1\n"), "vm1"],
  ["a failure", answer("hostname: Name or service not known\n", 1), "vm1"],
  ["nothing in time", { ...answer("", null), signal: "SIGTERM", timedOut: true }, "vm1"],
  ["the loopback's name", answer("localhost.localdomain\n"), "vm1"],
  ["nonsense", answer("../../etc/passwd\n"), "vm1"],
])("with %s from the resolver the full name is still one", async (_title, result, fqdn) => {
  expect(await readFacts(() => Promise.resolve(result), "VM1")).toEqual({ fqdn, hostname: "vm1" });
});

test("a kernel that knows the full name is believed, and nobody else is asked", async () => {
  const facts = await readFacts(() => Promise.reject(new Error("asked")), "vm1.internal");

  expect(facts).toEqual({ fqdn: "vm1.internal", hostname: "vm1" });
});

test("a host without the hostname program has its own name", async () => {
  expect(await readFacts(() => Promise.reject(new Error("ENOENT")), "vm1")).toEqual({ fqdn: "vm1", hostname: "vm1" });
});

test.each(["../../etc/shadow", "", "a b", "-x", "vm1;reboot"])("a host that is called %j has no name", async (name) => {
  expect(await readFacts(() => Promise.reject(new Error("asked")), name)).toEqual({ fqdn: null, hostname: null });
});
