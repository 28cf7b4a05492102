import { expect, test } from "vitest";
import { type IssuerConfig, issuerCache } from "../../../src/agent/issuer-cache.ts";
import type { Issuer } from "../../../src/core/ports.ts";
import type { Host } from "../../../src/spec/host.ts";

/** A host configuration of issuers; all that the cache asks of one is whether it is still the same. */
function host(urls: Readonly<Record<string, string>>): Pick<Host, "issuers"> {
  const configs = Object.entries(urls).map(([name, url]) => [name, { type: "step-ca", urls: [url] }] as const);
  return { issuers: new Map(configs) as unknown as Host["issuers"] };
}

function cache() {
  const created: string[] = [];
  const forgot: string[] = [];
  const create = (name: string, _: IssuerConfig): Issuer => {
    created.push(name);
    const unused = () => Promise.reject(new Error("not asked"));
    return {
      name,
      type: "step-ca",
      roots: unused,
      anchors: unused,
      issue: unused,
      holdsSecret: () => true,
      noneWaits: () => void forgot.push(name),
      secretSince: () => Promise.resolve(null),
      removeUsed: unused,
    };
  };
  return { created, forgot, ...issuerCache(create) };
}

test("an issuer that did not change stays the same object, with the secrets that it holds", () => {
  const { configure, get, created } = cache();
  configure(host({ a: "https://a", b: "https://b" }));
  const [a, b] = [get("a"), get("b")];

  configure(host({ a: "https://a", b: "https://other" }));

  expect(get("a")).toBe(a);
  expect(get("b")).not.toBe(b);
  expect(created).toEqual(["a", "b", "b"]);
});

test("a change is one only after the first configuration: at the start there is nothing to forgive", () => {
  const { configure } = cache();

  expect(configure(host({ a: "https://a" }))).toBe(false);
  expect(configure(host({ a: "https://a" }))).toBe(false);
  expect(configure(host({ a: "https://b" }))).toBe(true);
  expect(configure(host({ a: "https://b", c: "https://c" }))).toBe(true);
  // All that was there may have been of kinds that this version lacks.
  expect(configure(host({}))).toBe(false);
  expect(configure(host({ a: "https://b" }))).toBe(true);
});

test("a configuration that cannot be used leaves the issuers in force", () => {
  const { configure, get } = cache();
  configure(host({ a: "https://a" }));
  const a = get("a");

  expect(configure(undefined)).toBe(false);
  expect(get("a")).toBe(a);
});

test("an issuer that is gone, or never was, is named in a complaint that says where to look", () => {
  const { configure, get } = cache();
  configure(host({ a: "https://a", b: "https://b" }));
  configure(host({ b: "https://b" }));

  expect(() => get("a")).toThrow(
    expect.objectContaining({
      code: "SPEC_INVALID",
      message: 'Cannot use issuer "a": the host configuration does not have it',
      hint: "certagent check",
    }),
  );
  expect(get("b").name).toBe("b");
});

test("what an issuer keeps of used secrets is forgotten with the issuer, and where nobody waits for it", () => {
  const { configure, forgetSecrets, forgot } = cache();
  configure(host({ a: "https://a", b: "https://b", c: "https://c" }));

  configure(host({ a: "https://a", b: "https://b" }));
  forgetSecrets((name) => name === "a");

  expect(forgot).toEqual(["c", "b"]);
});
