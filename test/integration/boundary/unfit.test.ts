/** What a taken-over agent may say of a generation, and what the root side makes of it. */
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { beforeAll, expect, test } from "vitest";
import { type Files, nodeFiles } from "../../../src/base/atomic-file.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { DAY, MINUTE, systemClock } from "../../../src/base/time.ts";
import type { Certificate } from "../../../src/x509/certificate.ts";
import { generateKey, type PrivateKey, parseKey } from "../../../src/x509/key.ts";
import { impostor, makePki, type Pki } from "../../servers/pki.ts";
import { makeHost, NAME, never, output, pairAt, shellService, type TestHost, text } from "../apply/harness.ts";
import { type Forged, generationText, takeOver } from "./hostile-agent.ts";

let evil: Pki;
beforeAll(async () => {
  evil = await makePki("Evil");
});

interface Attack {
  readonly title: string;
  readonly refused: RegExp;
  forged(host: TestHost, deployed: { readonly key: PrivateKey }): Promise<Forged>;
}

const attacks: readonly Attack[] = [
  {
    title: "of a CA of its own, with that CA's root beside it",
    refused: /nor a pinned root/,
    forged: async () => ({ ...(await evil.issue()), roots: evil.roots }),
  },
  {
    title: "of a CA of its own that has the name of the pinned one",
    refused: /which has another key/,
    forged: async () => {
      const twin = await makePki("Test");
      return { ...(await twin.issue()), roots: twin.roots };
    },
  },
  {
    title: "for names that the spec does not have",
    refused: /also names mail\.internal/,
    forged: async ({ pki }) => ({
      ...(await pki.issue({ names: ["web.internal", "mail.internal"] })),
      roots: pki.roots,
    }),
  },
  {
    title: "for another name, and says that this was asked for",
    refused: /lacks web\.internal/,
    forged: async ({ pki, desired }) => {
      const request = {
        ...desired.request,
        subject: "mail.internal",
        names: [{ type: "dns", value: "mail.internal" } as const],
      };
      return { ...(await pki.issue({ names: ["mail.internal"] })), roots: pki.roots, request };
    },
  },
  {
    title: "that is for clients only",
    refused: /not for server use/,
    forged: async ({ pki }) => ({ ...(await pki.issue({ usages: ["client"] })), roots: pki.roots }),
  },
  {
    title: "that has expired",
    refused: /expired/,
    forged: async ({ pki }) => ({ ...(await pki.issue({ notAfter: systemClock.now() - MINUTE })), roots: pki.roots }),
  },
  {
    title: "that begins tomorrow",
    refused: /begins only/,
    forged: async ({ pki }) => ({ ...(await pki.issue({ notBefore: systemClock.now() + DAY })), roots: pki.roots }),
  },
  {
    title: "that is a CA",
    refused: /is a CA/,
    forged: async ({ pki }) => ({ ...(await pki.issue({ isAuthority: true })), roots: pki.roots }),
  },
  {
    title: "without its intermediate",
    refused: /nor a pinned root/,
    forged: async ({ pki }) => {
      const { key, leaf } = await pki.issue();
      return { key, chain: [leaf], roots: [pki.intermediate.certificate] };
    },
  },
  {
    title: "that a leaf of the pinned CA signed",
    refused: /nor a pinned root/,
    forged: async ({ pki }) => {
      const { key, leaf, chain } = await pki.issue();
      const below = await pki.issue({ issuer: { certificate: leaf, key } });
      return { key: below.key, chain: [below.leaf, ...chain], roots: pki.roots };
    },
  },
  {
    title: "with a key whose public half alone is the certificate's",
    refused: /cannot sign/,
    forged: async ({ pki }) => {
      const issued = await pki.issue();
      return { ...issued, key: await withForeignHalf(issued.key), roots: pki.roots };
    },
  },
];

test.each(attacks)("a generation $title is not deployed, and what is deployed stays", async ({ forged, refused }) => {
  await using host = await makeHost();
  const deployed = await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const before = pairAt(host);
  const agent = await takeOver(host);
  await agent.forge(2, await forged(host, deployed));

  const report = await applier.apply(NAME, never);

  expect(report.failure?.code).toMatch(/CHAIN_UNUSABLE|KEY_UNUSABLE/);
  expect(report.failure?.message).toMatch(refused);
  expect(report).toMatchObject({ deployed: 1, files: "unchanged", actions: [] });
  expect(pairAt(host)).toEqual(before);
});

test("a generation whose leaf nobody signed, with an honest one hidden in it, is not deployed", async () => {
  await using host = await makeHost();
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const before = pairAt(host);
  const honest = await host.pki.issue();
  const pem = await impostor(honest, evil, { notAfter: systemClock.now() + 3650 * DAY });
  const [leaf, ...between] = honest.chain;
  await (await takeOver(host)).forge(2, { ...honest, chain: [{ ...leaf, pem }, ...between], roots: host.pki.roots });

  const report = await applier.apply(NAME, never);

  expect(report).toMatchObject({ deployed: 1, files: "unchanged" });
  expect(pairAt(host)).toEqual(before);
});

test.each(attacks)("a deployed generation that is rewritten as one $title mends nothing", async ({ forged }) => {
  await using host = await makeHost();
  const deployed = await host.issue();
  await (await host.open()).apply(NAME, never);
  const agent = await takeOver(host);
  await agent.forge(1, await forged(host, deployed));
  await rm(host.path("web.crt"));

  const report = await (await host.open()).apply(NAME, never);

  expect(report.failure?.code).toMatch(/CHAIN_UNUSABLE|KEY_UNUSABLE/);
  expect(await text(host.path("web.key"))).toBe(deployed.key.toPem());
});

test("a certificate of hundreds of names that do not fit is told of in one line", async () => {
  await using host = await makeHost();
  const names = Array.from({ length: 300 }, (_, index) => `host-${index}.mail.internal`);
  await (await takeOver(host)).forge(1, { ...(await host.pki.issue({ names })), roots: host.pki.roots });

  const { failure } = await (await host.open()).apply(NAME, never);

  expect(failure?.message.length).toBeLessThan(700);
});

test("a certificate that begins in a few minutes is deployed: this host's clock may be behind its CA's", async () => {
  await using host = await makeHost();
  const issued = await host.pki.issue({ notBefore: systemClock.now() + 4 * MINUTE });
  await (await takeOver(host)).forge(1, { ...issued, roots: host.pki.roots });

  expect(await (await host.open()).apply(NAME, never)).toMatchObject({ deployed: 1, failure: null });
});

test("whose roots are believed decides: the agent's own CA passes where those that it brings are", async () => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  await agent.forge(1, { ...(await evil.issue()), roots: evil.roots });
  host.anchors = async (_, candidates) => candidates;

  expect((await (await host.open()).apply(NAME, never)).failure).toBeNull();
});

test("a format of trust anchors holds those that are pinned, whatever the generation brings", async () => {
  await using host = await makeHost();
  host.desired = { ...host.desired, outputs: [...host.desired.outputs, output("roots", host.path("ca.pem"))] };
  const agent = await takeOver(host);
  const applier = await host.open();
  await agent.forge(1, { ...(await host.pki.issue()), roots: [...evil.roots, ...host.pki.roots] });

  expect((await applier.apply(NAME, never)).failure).toBeNull();
  expect(await text(host.path("ca.pem"))).toBe(host.pki.root.certificate.pem);
  expect((await observed(host)).outputs.map(({ state }) => state)).toEqual(["current", "current", "current"]);
});

test("anchors that are added to the deployed generation do not come out when its files are mended", async () => {
  await using host = await makeHost();
  host.desired = { ...host.desired, outputs: [...host.desired.outputs, output("roots", host.path("ca.pem"))] };
  const { key, chain } = await host.issue();
  await (await host.open()).apply(NAME, never);
  const agent = await takeOver(host);
  await agent.forge(1, { key, chain, roots: [...host.pki.roots, ...evil.roots] });
  await rm(host.path("ca.pem"));

  const report = await (await host.open()).apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(await text(host.path("ca.pem"))).toBe(host.pki.root.certificate.pem);
});

test("certificates that are not on the way to the root do not come out", async () => {
  await using host = await makeHost();
  const agent = await takeOver(host);
  const { key, chain } = await host.pki.issue();
  await agent.forge(1, { key, chain: [...chain, evil.intermediate.certificate], roots: host.pki.roots });

  expect((await (await host.open()).apply(NAME, never)).failure).toBeNull();
  expect(await text(host.path("web.crt"))).toBe(chain.map(({ pem }) => pem).join(""));
});

test("files of the deployed pair are mended after the spec, the pinned root and its dates have changed", async () => {
  await using host = await makeHost();
  await host.issue({ notAfter: systemClock.now() + 2 * DAY });
  await (await host.open()).apply(NAME, never);
  const before = pairAt(host);
  const request = { ...host.desired.request, names: [{ type: "dns", value: "other.internal" } as const] };
  const combined = output("combined", host.path("web.pem"));
  host.desired = { ...host.desired, digest: "2", request, outputs: [...host.desired.outputs, combined] };
  host.anchors = async () => evil.roots;
  const clock = { ...systemClock, now: () => systemClock.now() + 3 * DAY };
  await writeFile(host.path("web.crt"), "");

  const report = await (await host.open(undefined, { clock })).apply(NAME, never);

  expect(report.failure).toBeNull();
  expect(pairAt(host)).toEqual(before);
  expect(parseKey(await readFile(host.path("web.pem"))).keyId).toBe(before instanceof Object ? before.key : "");
});

test("an earlier pair is not deployed anew once the spec asks for something else", async () => {
  await using host = await makeHost();
  const first = await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  await host.issue();
  await applier.apply(NAME, never);
  const agent = await takeOver(host);
  const request = {
    ...host.desired.request,
    usages: ["server" as const],
    names: [{ type: "dns", value: "new.internal" } as const],
  };
  host.desired = { ...host.desired, digest: "2", request };
  await agent.put("3.json", generationText({ ...first, request }));

  expect((await applier.apply(NAME, never)).failure).toMatchObject({ code: "CHAIN_UNUSABLE" });
});

test("what stands at the outputs may be renewed as it is while the spec asks for what cannot be had, and nothing else may come", async () => {
  await using host = await makeHost();
  await host.issue({ notAfter: systemClock.now() + DAY });
  const applier = await host.open();
  await applier.apply(NAME, never);
  const agent = await takeOver(host);
  const asked = host.desired.request;
  const forge = async (number: number, names: readonly string[], notAfter: number): Promise<void> => {
    const { key, chain } = await host.pki.issue({ names, subject: "web.internal", notAfter });
    await agent.forge(number, { key, chain, roots: host.pki.roots });
  };
  const names = [{ type: "dns", value: "new.internal" } as const, { type: "dns", value: "web.internal" } as const];
  host.desired = { ...host.desired, digest: "2", request: { ...asked, names } };

  await forge(2, ["mail.internal", "web.internal"], systemClock.now() + 3 * DAY);
  expect((await applier.apply(NAME, never)).failure?.message).toMatch(/also names mail\.internal/);

  await forge(3, ["web.internal"], systemClock.now() + 2 * DAY);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 3, failure: null });

  await forge(4, ["new.internal", "web.internal"], systemClock.now() + DAY);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 4, failure: null });

  await forge(5, ["web.internal"], systemClock.now() + 3 * DAY);
  expect((await applier.apply(NAME, never)).failure?.message).toMatch(/lacks new\.internal/);
});

test("what stands at the outputs is renewed by the issuer of before while the root of the one that the spec names is not there yet", async () => {
  await using host = await makeHost();
  await host.issue({ notAfter: systemClock.now() + DAY });
  const applier = await host.open();
  await applier.apply(NAME, never);
  const missing = new AgentError("SPEC_INVALID", "Cannot use the trust anchors: no such file");
  host.anchors = async (issuer) => (issuer === "next" ? await Promise.reject(missing) : host.pki.roots);
  host.desired = { ...host.desired, digest: "2", request: { ...host.desired.request, issuer: "next" } };
  const agent = await takeOver(host);
  const request = { ...host.desired.request, issuer: "internal" };
  const forge = async (number: number, days: number): Promise<void> => {
    const { key, chain } = await host.pki.issue({ notAfter: systemClock.now() + days * DAY });
    await agent.forge(number, { key, chain, roots: host.pki.roots, request });
  };

  await forge(2, 2);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 2, failure: null });

  await forge(3, 1);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 2, failure: { message: missing.message } });
});

test("an issuer that the spec names no more may renew what it has signed, and no other issuer that is configured may", async () => {
  await using host = await makeHost();
  await host.issue({ notAfter: systemClock.now() + DAY });
  const [test, next] = [host.pki, await makePki("Next")];
  const anchors: Readonly<Record<string, Pki>> = { internal: test, next, evil };
  host.anchors = async (issuer) => anchors[issuer]?.roots ?? [];
  const applier = await host.open();
  await applier.apply(NAME, never);
  const agent = await takeOver(host);
  const asked = host.desired.request;
  host.desired = { ...host.desired, digest: "2", request: { ...asked, issuer: "next" } };
  const forge = async (number: number, pki: Pki, issuer: string, days: number): Promise<void> => {
    const { key, chain } = await pki.issue({ notAfter: systemClock.now() + days * DAY });
    await agent.forge(number, { key, chain, roots: pki.roots, request: { ...asked, issuer } });
  };

  await forge(2, evil, "evil", 2);
  expect((await applier.apply(NAME, never)).failure?.code).toBe("CHAIN_UNUSABLE");
  await forge(3, test, "gone", 2);
  expect((await applier.apply(NAME, never)).failure?.code).toBe("CHAIN_UNUSABLE");

  await forge(4, test, "internal", 2);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 4, failure: null });
  await rm(host.path("web.crt"));
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 4, failure: null, files: "written" });

  await forge(5, next, "next", 1);
  expect(await applier.apply(NAME, never)).toMatchObject({ deployed: 5, failure: null });
  await forge(6, test, "internal", 3);
  expect((await applier.apply(NAME, never)).failure?.code).toBe("CHAIN_UNUSABLE");
});

test("what is gone back to after a reload that failed is what stood there, not what the agent says that stood there", async () => {
  await using host = await makeHost();
  const good = await host.issue();
  await (await host.open()).apply(NAME, never);
  const agent = await takeOver(host);
  await agent.forge(1, { ...(await evil.issue()), roots: evil.roots });
  await host.issue();
  host.desired = {
    ...host.desired,
    services: [shellService({ reloadBy: `grep -qF '${mark(good.chain[0])}' ${host.path("web.crt")}` })],
  };

  const report = await (await host.open()).apply(NAME, never);

  expect(report.files).toBe("rolled-back");
  expect(await text(host.path("web.key"))).toBe(good.key.toPem());
});

test("a process that ended before its services were told goes back to nothing that was rewritten meanwhile", async () => {
  await using host = await makeHost();
  const services = [shellService({ reloadBy: "true" })];
  host.desired = { ...host.desired, services };
  await host.issue();
  await (await host.open()).apply(NAME, never);
  const second = await host.issue();
  const { promise: told, resolve } = Promise.withResolvers<void>();
  const reload = async (): Promise<never> => (resolve(), await new Promise<never>(() => {}));
  host.desired = { ...host.desired, services: [shellService({ reload })] };
  const dying = new AbortController();
  const killed = (await host.open()).apply(NAME, dying.signal);
  await told;
  dying.abort();
  void killed.catch(() => {});
  const agent = await takeOver(host);
  await agent.forge(1, { ...(await evil.issue()), roots: evil.roots });
  host.desired = { ...host.desired, services: [shellService({ reloadBy: "exit 1" })] };

  const report = await (await host.open()).apply(NAME, never);

  expect(report.failure?.code).toBe("RELOAD_FAILED");
  expect(await text(host.path("web.key"))).toBe(second.key.toPem());
});

test("what a killed process left half done is made the deployed pair again where the newest one does not fit", async () => {
  await using host = await makeHost();
  await host.issue();
  await (await host.open()).apply(NAME, never);
  const before = pairAt(host);
  const { key } = await host.issue();
  const { promise: reached, resolve } = Promise.withResolvers<void>();
  const rename: Files["rename"] = async (from, to) => {
    if (!to.endsWith("/web.crt")) return await nodeFiles.rename(from, to);
    resolve();
    return await new Promise<never>(() => {});
  };
  void (await host.open({ ...nodeFiles, rename })).apply(NAME, never);
  await reached;
  for (const name of await readdir(host.tls)) if (name.startsWith(".certagent-")) await rm(host.path(name));
  const agent = await takeOver(host);
  await agent.forge(3, { ...(await evil.issue()), roots: evil.roots });
  expect(parseKey(await text(host.path("web.key"))).keyId).toBe(key.keyId);

  await (await host.open()).recover();

  expect(pairAt(host)).toEqual(before);
});

async function observed(host: TestHost) {
  const facts = (await (await host.open()).observe([{ name: NAME, digest: "1", generation: null }], never)).get(NAME);
  if (facts === undefined) throw new Error("no facts");
  return facts;
}

function mark({ pem }: Certificate): string {
  return pem.split("\n")[5] ?? "";
}

/** A PKCS#8 key of P-256 (RFC 5958 around RFC 5915): the secret of another key in front of the public point of this one. */
async function withForeignHalf(key: PrivateKey): Promise<PrivateKey> {
  const der = Buffer.from(key.keyObject.export({ type: "pkcs8", format: "der" }));
  const other = Buffer.from((await generateKey("ec-p256")).keyObject.export({ type: "pkcs8", format: "der" }));
  const at = der.indexOf(Buffer.from([0x04, 0x20])) + 2;
  other.copy(der, at, at, at + 32);
  return parseKey(
    `-----BEGIN PRIVATE KEY-----\n${der.toString("base64").replace(/.{64}/g, "$&\n")}\n-----END PRIVATE KEY-----\n`,
  );
}
