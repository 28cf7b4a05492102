import { describe, expect, test } from "vitest";
import { DAY, HOUR, type Instant, MINUTE, SECOND } from "../../../src/base/time.ts";
import { chainToAdopt, type Fitting, type Judgement, judgeChain } from "../../../src/core/fit.ts";
import type { Certificate } from "../../../src/x509/certificate.ts";
import type { Chain } from "../../../src/x509/chain.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { type Name, parseName, sortNames } from "../../../src/x509/name.ts";
import { type LeafOptions, makeAuthority, makePki } from "../../servers/pki.ts";
import { misfit } from "./given.ts";

// A fixed now: the judge is given it, and the authorities are older.
const now: Instant = Date.UTC(2026, 5, 1, 12);
const began = now - 30 * DAY;
const ends = now + 3650 * DAY;
const authority = { notBefore: began, notAfter: ends };
const root = await makeAuthority({ ...authority, name: "Root" });
const issuer = await makeAuthority({ ...authority, name: "Issuer", issuer: root });
const pki = await makePki();
const key = await generateKey("ec-p256");
const names = ["web.internal", "10.0.0.20", "*.web.internal"];

const request: Fitting["request"] = {
  subject: "web.internal",
  names: sortNames(names.map((text) => parseName(text) as Name)),
  usages: ["server", "client"],
  key: null,
};

/** A pair that a CA issued a moment ago, for a day, and whatever is wrong with it. */
async function pair(options: LeafOptions = {}): Promise<Fitting> {
  const times = { notBefore: now - MINUTE, notAfter: now + DAY };
  const { chain } = await pki.issue({ names, key, issuer, ...times, ...options });
  return { request, key, chain, roots: [root.certificate], now };
}

const good = await pair();
const [leaf, intermediate] = good.chain as [Certificate, Certificate];

function refusal(judgement: Judgement): string {
  try {
    judgeChain(judgement);
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: "CHAIN_UNUSABLE" });
    return (thrown as Error).message.replace('Cannot use the certificate for "web.internal": ', "");
  }
  return "";
}

const iso = (instant: Instant): string => new Date(instant).toISOString().replace(".000", "");

describe("judgeChain() accepts", () => {
  test.each<[string, LeafOptions]>([
    ["what was asked for", {}],
    ["names in another order", { names: names.toReversed() }],
    ["names in another spelling", { names: [{ type: "dns", value: "WEB.Internal" }, ...names.slice(1)] }],
    ["no common name", { subject: null }],
    ["one of the names as common name", { subject: "10.0.0.20" }],
    ["usages beyond those asked for", { usages: ["server", "client", "1.3.6.1.5.5.7.3.9"] }],
    ["no usages, which are all", { usages: null }],
    ["no key usage, which is all", { keyUsages: null }],
    ["a beginning within the skew", { notBefore: now + 4 * MINUTE }],
    ["exactly half of its lifetime left", { notBefore: now - DAY }],
    ["a lifetime of seconds", { notBefore: now - SECOND, notAfter: now + 4 * SECOND }],
    ["CA:FALSE said in so many words", { isAuthority: false }],
    ["a serial that another CA may have given before", { serial: "01" }],
  ])("%s", async (_, options) => {
    const { leaf: previous } = await pki.issue({ serial: "01", notBefore: began, notAfter: now });

    expect(refusal({ ...(await pair(options)), previous })).toBe("");
  });

  test("a common name with characters that are not seen, where the spec's subject has them", async () => {
    const subject = "Büro می\u200cخواهم 👩\u200d💻";

    expect(refusal({ ...(await pair({ subject })), request: { ...request, subject } })).toBe("");
    expect(
      refusal({ ...(await pair({ subject })), request: { ...request, subject: subject.replace("\u200c", "") } }),
    ).not.toBe("");
  });

  test("and returns the chain to serve: in order, without root and doubles", () => {
    const chain: Chain = [intermediate, root.certificate, leaf, intermediate, { ...leaf }];

    expect(judgeChain({ ...good, chain })).toEqual([leaf, intermediate]);
  });

  test.each(["ed25519", "ec-p384", "rsa-2048"] as const)("%s keys", async (algorithm) => {
    const other = await generateKey(algorithm);

    expect(refusal({ ...(await pair({ key: other })), key: other })).toBe("");
  });

  test("a leaf and an intermediate that both begin within the skew", async () => {
    const fresh = await makeAuthority({ ...authority, name: "Fresh", issuer: root, notBefore: now + MINUTE });

    expect(refusal(await pair({ issuer: fresh, notBefore: now + 2 * MINUTE }))).toBe("");
  });
});

describe("judgeChain() refuses", () => {
  test.each<[string, LeafOptions, string]>([
    ["another key", { key: "ec-p256" }, "it is for another key"],
    ["a missing name", { names: names.slice(0, 2) }, "it lacks *.web.internal"],
    ["an added name", { names: [...names, "evil.internal"] }, "it also names evil.internal"],
    [
      "another name",
      { names: [...names.slice(0, 2), "*.evil.internal"] },
      "it lacks *.web.internal and also names *.evil.internal",
    ],
    [
      "an address as a DNS name",
      { names: [names[0] ?? "", names[2] ?? "", { type: "dns", value: "10.0.0.20" }] },
      "it lacks 10.0.0.20 and also names 10.0.0.20",
    ],
    ["no names", { names: [], subject: "web.internal" }, "it lacks *.web.internal, web.internal, 10.0.0.20"],
    ["another common name", { subject: "evil.internal" }, 'its common name is "evil.internal", not "web.internal"'],
    ["a missing usage", { usages: ["server"] }, "it is not for client use"],
    ["both usages missing", { usages: ["1.3.6.1.5.5.7.3.9"] }, "it is not for server and client use"],
    ["a CA", { isAuthority: true }, "it is a CA"],
    ["a key usage without signatures", { keyUsages: 4 }, "its key usage lacks digitalSignature"],
    ["an end before the beginning", { notBefore: now, notAfter: now - HOUR }, "it ends before it begins"],
    [
      "a beginning beyond the skew",
      { notBefore: now + 6 * MINUTE },
      `it begins only at ${iso(now + 6 * MINUTE)}, and here it is ${iso(now)}`,
    ],
    [
      "what has expired",
      { notBefore: now - MINUTE, notAfter: now - 30 * SECOND },
      `it expired at ${iso(now - 30 * SECOND)}`,
    ],
    [
      "less than half of its lifetime",
      { notBefore: now - DAY - SECOND },
      `less than half of its lifetime is left: it expires at ${iso(now + DAY)}`,
    ],
  ])("%s", async (_, options, fact) => {
    expect(refusal(await pair(options)).replace('Cannot use the certificate for "evil.internal": ', "")).toBe(fact);
  });

  test.each<[string, LeafOptions]>([
    ["a missing name", { names: names.slice(0, 2) }],
    ["another common name", { subject: "evil.internal" }],
    ["a missing usage", { usages: ["server"] }],
    ["a CA", { isAuthority: true }],
    ["a key usage without signatures", { keyUsages: 4 }],
  ])("%s, and says that the CA's template is to be changed", async (_, options) => {
    const judgement = await pair(options);

    expect(() => judgeChain(judgement)).toThrow(
      expect.objectContaining({ hint: expect.stringMatching(/template.*change that/) }),
    );
  });

  test.each<[string, Partial<Judgement>, string]>([
    ["the leaf alone", { chain: [leaf] }, "the CA sent it alone, without the chain to its root"],
    [
      "the leaf alone below a pinned intermediate",
      { chain: [leaf], roots: [intermediate] },
      "the CA sent it alone, without the chain to its root",
    ],
    [
      "an unrelated certificate",
      { chain: [leaf, intermediate, pki.root.certificate] },
      '"Test Root" is there, which issued none of the others',
    ],
    [
      "a chain to another root",
      { roots: pki.roots },
      'it ends at "Issuer", whose issuer "CN=Root" is neither in the chain nor a pinned root',
    ],
    ["the same certificate again", { previous: leaf }, "it is the one that is there already"],
  ])("%s", (_, change, fact) => {
    expect(refusal({ ...good, ...change })).toBe(fact);
  });

  test("a serial number that this CA has used already", async () => {
    const { chain } = await pair({ serial: "0abc" });
    const again = await pair({ serial: "0abc", notAfter: now + DAY + MINUTE });

    expect(refusal({ ...again, previous: chain[0] })).toBe(
      "it has the serial number of the one that is there already (0abc)",
    );
  });

  test("an expired intermediate", async () => {
    const ended = await makeAuthority({ name: "Ended", issuer: root, notBefore: began, notAfter: now - HOUR });

    expect(refusal(await pair({ issuer: ended }))).toBe(`"Ended" expired at ${iso(now - HOUR)}`);
  });

  test("an intermediate that is for clients alone", async () => {
    const { ExtendedKeyUsageExtension } = await import("@peculiar/x509");
    const extensions = [new ExtendedKeyUsageExtension(["1.3.6.1.5.5.7.3.2"])];
    const narrow = await makeAuthority({ ...authority, name: "Narrow", issuer: root, extensions });

    expect(refusal(await pair({ issuer: narrow }))).toBe('its issuer "Narrow" is not for server use');
  });
});

describe("judgeChain() beside the previous leaf", () => {
  const day = DAY + MINUTE;
  test.each<[string, number, number, string]>([
    ["a later end", now - HOUR, day, ""],
    ["an end in the same second", now - MINUTE, day, ""],
    ["an end a little earlier, from a clock set back", now + 3 * MINUTE, day, ""],
    [
      "an end well earlier with the same lifetime",
      now + HOUR,
      day,
      `it expires at ${iso(now + DAY)}, before the one that is there already`,
    ],
    ["an earlier end with a shorter lifetime", now - HOUR, 30 * DAY, ""],
  ])("%s", (_, notBefore, lifetime, fact) => {
    const previous = { ...leaf, fingerprint: "0", serial: "0", notBefore, notAfter: notBefore + lifetime };

    expect(refusal({ ...good, previous })).toBe(fact);
  });
});

test("what no template and no clock explains is told to be the CA's, and an end that comes earlier has the clocks compared", () => {
  const previous = { ...leaf, fingerprint: "0", serial: "0", notBefore: now + HOUR, notAfter: leaf.notAfter + HOUR };
  const hint = (text: RegExp) => expect.objectContaining({ hint: expect.stringMatching(text) });

  expect(() => judgeChain({ ...good, previous: leaf })).toThrow(hint(/fault is the CA's/));
  expect(() => judgeChain({ ...good, previous })).toThrow(hint(/clock/));
});

describe("chainToAdopt()", () => {
  test.each<[string, LeafOptions, string | null]>([
    ["a pair that fits", {}, null],
    ["a pair that is nearly expired", { notBefore: now - 29 * DAY, notAfter: now + SECOND }, null],
    [
      "an expired pair",
      { notBefore: now - DAY, notAfter: now - SECOND },
      `"web.internal" expired at ${iso(now - SECOND)}`,
    ],
    ["a pair that has not begun", { notBefore: now + MINUTE }, `"web.internal" begins only at ${iso(now + MINUTE)}`],
    ["another key", { key: "ec-p256" }, "it is for another key"],
    ["other names", { names: ["web.internal"] }, "it lacks *.web.internal, 10.0.0.20"],
    ["a usage that renewal would keep away", { usages: ["server"] }, "it is not for client use"],
  ])("%s", async (_, options, reason) => {
    expect(misfit(await pair(options))).toBe(reason);
  });

  test("minds the key's kind only where the spec names one", () => {
    expect(misfit({ ...good, request: { ...request, key: "ec-p256" } })).toBeNull();
    expect(misfit({ ...good, request: { ...request, key: "rsa-2048" } })).toBe("its key is ec-p256, not rsa-2048");
  });

  test("wants the way to the root, and nothing in the file beyond it does harm", () => {
    expect(misfit({ ...good, chain: [leaf] })).toContain("is neither in the chain nor a pinned root");
    expect(chainToAdopt({ ...good, chain: [root.certificate, intermediate, pki.root.certificate, leaf] })).toEqual([
      leaf,
      intermediate,
    ]);
  });

  test("takes a leaf that the root itself issued", async () => {
    const direct = await pair({ issuer: root });

    expect(chainToAdopt(direct)).toEqual(direct.chain);
  });
});
