import { hostname } from "node:os";
import { expect, test } from "vitest";
import { readHostFacts, substitute } from "../../../src/spec/host-facts.ts";

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
    message: "${fqdn} is not known: this host has no name that a certificate could be for",
  });
});

test("the facts are those of this host, in lower case and without its domain", async () => {
  const { hostname: short } = await readHostFacts();

  expect(short).toBe(hostname().toLowerCase().split(".")[0]);
});

test.each([
  ["a domain", "VM1.Example.COM", "vm1.example.com"],
  ["a domain and its dot", "vm1.example.com.", "vm1.example.com"],
  ["no domain", "vm1", "vm1"],
  ["nothing", undefined, "vm1"],
  ["the loopback's name", "localhost.localdomain", "vm1"],
  ["nonsense", "../../etc/passwd", "vm1"],
])("with %s from the resolver the full name is still one", async (_title, answer, fqdn) => {
  expect(await readHostFacts(() => Promise.resolve(answer), "VM1")).toEqual({ fqdn, hostname: "vm1" });
});

const unasked = () => Promise.reject(new Error("asked"));

test("a kernel that knows the full name is believed, and nobody else is asked", async () => {
  const facts = await readHostFacts(unasked, "vm1.internal");

  expect(facts).toEqual({ fqdn: "vm1.internal", hostname: "vm1" });
});

test.each(["../../etc/shadow", "", "a b", "-x", "vm1;reboot", "localhost", "Localhost.localdomain", "localhost6"])(
  "a host that is called %j has no name",
  async (name) => {
    expect(await readHostFacts(unasked, name)).toEqual({ fqdn: null, hostname: null });
  },
);
