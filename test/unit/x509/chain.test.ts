import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DAY, HOUR, type Instant } from "../../../src/base/time.ts";
import type { Certificate } from "../../../src/x509/certificate.ts";
import { arrangeChain, type Chain, earliestExpiry, type Fault, strayFault } from "../../../src/x509/chain.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { type Authority, makeAuthority, makePki } from "../../servers/pki.ts";

const pki = await makePki();
const other = await makePki("Other");
const { leaf } = await pki.issue();
const root = pki.root.certificate;
const intermediate = pki.intermediate.certificate;
const now = leaf.notBefore + 2 * DAY;

const upper = await makeAuthority({ name: "Upper", issuer: pki.root });
const lower = await makeAuthority({ name: "Lower", issuer: upper });
const { leaf: deepLeaf } = await pki.issue({ issuer: lower });

/** As a CA's answer is judged. */
const verify = (chain: Chain, roots: readonly Certificate[], at: Instant): Chain | Fault =>
  strayFault(chain) ?? arrangeChain(chain, roots, at);

test("earliestExpiry() is that of the first certificate to end", async () => {
  const short = await makeAuthority({ name: "Short", issuer: pki.root, notAfter: now + HOUR });
  const { chain } = await pki.issue({ issuer: short });

  expect(earliestExpiry(chain)).toBe(short.certificate.notAfter);
});

describe("arrangeChain() puts in order", () => {
  test.each<[string, Chain, readonly Certificate[], readonly Certificate[]]>([
    ["a chain that is in order", [leaf, intermediate], [root], [leaf, intermediate]],
    ["a chain with its root", [leaf, intermediate, root], [root], [leaf, intermediate]],
    ["doubles", [leaf, intermediate, intermediate], [root], [leaf, intermediate]],
    [
      "intermediates the wrong way round",
      [deepLeaf, upper.certificate, lower.certificate],
      [root],
      [deepLeaf, lower.certificate, upper.certificate],
    ],
    [
      "the root in the middle",
      [deepLeaf, root, upper.certificate, lower.certificate],
      [root],
      [deepLeaf, lower.certificate, upper.certificate],
    ],
    ["a chain of another root beside ours", [leaf, intermediate], [other.root.certificate, root], [leaf, intermediate]],
    ["a pinned intermediate, which is kept", [leaf, intermediate], [intermediate], [leaf, intermediate]],
    ["a pinned intermediate, read twice", [leaf, intermediate], [{ ...intermediate }], [leaf, intermediate]],
    ["a pinned intermediate beside its root", [leaf, intermediate], [intermediate, root], [leaf, intermediate]],
    ["a leaf alone below a pinned intermediate", [leaf], [intermediate], [leaf]],
  ])("%s", (_, chain, roots, arranged) => {
    expect(verify(chain, roots, now)).toEqual(arranged);
  });

  test("any order of whatever the CA sent", () => {
    const sent = [lower.certificate, upper.certificate, root, upper.certificate];
    fc.assert(
      fc.property(fc.shuffledSubarray(sent, { minLength: sent.length }), (shuffled) => {
        expect(verify([deepLeaf, ...shuffled], [root], now)).toEqual([deepLeaf, lower.certificate, upper.certificate]);
      }),
    );
  });
});

describe("cross-signed certificates", async () => {
  const oldRoot = await makeAuthority({ name: "Old Root" });
  const sameKey = { name: "Test Root", key: pki.root.key };
  const newWithOld = (await makeAuthority({ ...sameKey, issuer: oldRoot })).certificate;
  const expired = (await makeAuthority({ ...sameKey, issuer: oldRoot, notAfter: now - HOUR })).certificate;

  test.each<[string, Chain, readonly Certificate[], readonly Certificate[]]>([
    ["is left out where only the new root is pinned", [leaf, intermediate, newWithOld], [root], [leaf, intermediate]],
    [
      "is needed where only the old root is pinned",
      [leaf, intermediate, newWithOld],
      [oldRoot.certificate],
      [leaf, intermediate, newWithOld],
    ],
    [
      "is kept for old clients where both are pinned",
      [leaf, intermediate, newWithOld],
      [root, oldRoot.certificate],
      [leaf, intermediate, newWithOld],
    ],
    [
      "is left out when it has expired",
      [leaf, intermediate, expired],
      [root, oldRoot.certificate],
      [leaf, intermediate],
    ],
    ["comes with its root", [leaf, intermediate, newWithOld, oldRoot.certificate], [root], [leaf, intermediate]],
  ])("the new root signed by the old one %s", (_, chain, roots, arranged) => {
    expect(verify(chain, roots, now)).toEqual(arranged);
  });

  test("an intermediate that was issued again is used once", async () => {
    const again = await makeAuthority({ name: "Test Intermediate", key: pki.intermediate.key, issuer: pki.root });

    expect(verify([leaf, intermediate, again.certificate], [root], now)).toEqual([leaf, intermediate]);
    expect(verify([leaf, again.certificate], [root], now)).toEqual([leaf, again.certificate]);
  });

  test("the longer way is taken where both are valid, in whatever order they came", async () => {
    const longer = (await makeAuthority({ name: "Test Intermediate", key: pki.intermediate.key, issuer: upper }))
      .certificate;

    for (const between of [
      [intermediate, longer],
      [longer, intermediate],
    ] as const) {
      expect(verify([leaf, ...between, upper.certificate], [root], now)).toEqual([leaf, longer, upper.certificate]);
    }
  });

  test("a CA that certified its own new key does not count as one more level", async () => {
    const before = await makeAuthority({ name: "Rolled", issuer: pki.root, pathLength: 0 });
    const after = await makeAuthority({ name: "Rolled", issuer: before, pathLength: 0 });
    const { chain } = await pki.issue({ issuer: after });
    const sent: Chain = [chain[0], after.certificate, before.certificate];

    expect(verify(sent, [root], now)).toEqual(sent);
  });

  test("a circle of CAs that signed each other ends", async () => {
    const [keyA, keyB] = [await generateKey("ec-p256"), await generateKey("ec-p256")];
    const selfA = await makeAuthority({ name: "A", key: keyA });
    const selfB = await makeAuthority({ name: "B", key: keyB });
    const ofEachOther = async (name: string, key: typeof keyA, issuer: Authority): Promise<Certificate[]> =>
      Promise.all([1, 2, 3].map(async () => (await makeAuthority({ name, key, issuer })).certificate));
    const { leaf: circled } = await pki.issue({ issuer: selfA });
    const chain: Chain = [circled, ...(await ofEachOther("A", keyA, selfB)), ...(await ofEachOther("B", keyB, selfA))];

    expect(arrangeChain(chain, [root], now)).toMatchObject({ fact: expect.stringContaining("nor a pinned root") });
    expect(arrangeChain(chain, [selfA.certificate], now)).toHaveLength(3);
  });
});

describe("arrangeChain() and strayFault() refuse", async () => {
  const begins = await makeAuthority({ name: "Future", issuer: pki.root, notBefore: now + HOUR });
  const ended = await makeAuthority({ name: "Ended", issuer: pki.root, notAfter: now - HOUR });
  const noCa = await makeAuthority({ name: "No CA", issuer: pki.root, isAuthority: false });
  const noSign = await makeAuthority({ name: "No Sign", issuer: pki.root, keyUsages: x509.KeyUsageFlags.cRLSign });
  const strange = await makeAuthority({
    name: "Strange",
    issuer: pki.root,
    extensions: [new x509.Extension("1.2.3.4", true, Uint8Array.of(5, 0))],
  });
  const endedRoot = await makeAuthority({ name: "Ended Root", notAfter: now - HOUR });
  const belowEndedRoot = await makeAuthority({ name: "Below", issuer: endedRoot });
  const tooDeep = await makeAuthority({ name: "Too Deep", issuer: pki.intermediate });
  const namesake = await makePki();
  const below = async (issuer: Authority): Promise<Chain> => (await pki.issue({ issuer })).chain;
  const iso = (instant: number): string => new Date(instant).toISOString().replace(".000", "");

  test.each<[string, Chain, readonly Certificate[], string]>([
    [
      "a leaf without its intermediate",
      [leaf],
      [root],
      'it ends at "web.internal", whose issuer "CN=Test Intermediate" is neither in the chain nor a pinned root',
    ],
    [
      "another CA's chain",
      [leaf, intermediate],
      other.roots,
      'it ends at "Test Intermediate", whose issuer "CN=Test Root" is neither in the chain nor a pinned root',
    ],
    [
      "another CA's chain with its own root",
      [leaf, intermediate, root],
      other.roots,
      'it ends at "Test Intermediate", whose issuer "CN=Test Root" is neither in the chain nor a pinned root',
    ],
    [
      "a root of the same name",
      [leaf, intermediate],
      namesake.roots,
      '"Test Intermediate" names the pinned root "CN=Test Root" as its issuer, which has another key or may not sign',
    ],
    [
      "no roots at all",
      [leaf, intermediate],
      [],
      'it ends at "Test Intermediate", whose issuer "CN=Test Root" is neither in the chain nor a pinned root',
    ],
    [
      "an unrelated certificate",
      [leaf, intermediate, other.intermediate.certificate],
      [root],
      '"Other Intermediate" is there, which issued none of the others',
    ],
    [
      "an unrelated root",
      [leaf, intermediate, other.root.certificate],
      [root],
      '"Other Root" is there, which issued none of the others',
    ],
    [
      "an intermediate that begins later",
      await below(begins),
      [root],
      `"Future" begins only at ${iso(begins.certificate.notBefore)}`,
    ],
    [
      "an intermediate that has expired",
      await below(ended),
      [root],
      `"Ended" expired at ${iso(ended.certificate.notAfter)}`,
    ],
    [
      "a root that has expired",
      [...(await below(belowEndedRoot))] as unknown as Chain,
      [endedRoot.certificate],
      `"Ended Root" expired at ${iso(endedRoot.certificate.notAfter)}`,
    ],
    ["an intermediate that is no CA", await below(noCa), [root], '"No CA" is no CA and signed another certificate'],
    [
      "an intermediate that may not sign",
      await below(noSign),
      [root],
      '"No Sign" is there, which may not sign certificates',
    ],
    [
      "an unknown critical extension",
      await below(strange),
      [root],
      '"Strange" has a critical extension that is not understood (1.2.3.4)',
    ],
    [
      "a path that is too long",
      [...(await below(tooDeep)), intermediate] as unknown as Chain,
      [root],
      '"Test Intermediate" allows 0 intermediates below it, and there are 1',
    ],
  ])("%s", (_, chain, roots, fact) => {
    expect(verify(chain, roots, now)).toMatchObject({ fact });
  });

  test("a leaf out of its time", () => {
    expect(verify([leaf, intermediate], [root], leaf.notAfter + 1)).toMatchObject({
      fact: expect.stringContaining('"web.internal" expired at'),
    });
    expect(verify([leaf, intermediate], [root], leaf.notBefore - 1)).toMatchObject({
      fact: expect.stringContaining('"web.internal" begins only at'),
    });
    expect(verify([leaf, intermediate], [root], leaf.notAfter)).toHaveLength(2);
  });
});
