import { access } from "node:fs/promises";
import { describe, expect, test } from "vitest";
import type { AgentError } from "../../../src/base/errors.ts";
import { HOUR, MINUTE, pause, SECOND, systemClock } from "../../../src/base/time.ts";
import { generateKey } from "../../../src/x509/key.ts";
import { CAS, type CaUnderTest } from "../../servers/ca-under-test.ts";
import {
  expiry,
  failure,
  issuerOf,
  never,
  orderFor,
  renewalOf,
  requestFor,
  secretFile,
  signDated,
  wrongClock,
} from "./desk.ts";

const nothing = { password: { file: "/nonexistent/password" } };

/** An order to renew a leaf that `/sign` gave such dates; the second counts from the first, as step-ca has it. */
async function agedOrder(ca: CaUnderTest, notBefore: string, length: string) {
  const pair = await signDated(ca, "aged.internal", { notBefore, notAfter: length });
  return { request: requestFor(["aged.internal"]), key: pair.key, current: pair };
}

describe.each(CAS)("renewals at $name", { concurrent: true }, ({ start }) => {
  test("a pair renews over mTLS for ever, without any secret on the host", async () => {
    await using ca = await start();
    await using secret = await secretFile(await ca.token("web.internal"));
    const issuer = issuerOf(ca, { token: { file: secret.file, delete_after_use: true } });
    const order = await orderFor("web.internal");
    const first = await issuer.issue(order, never);
    await expect(access(secret.file)).rejects.toThrow("ENOENT");

    const second = await issuer.issue(renewalOf(order, first), never);
    const third = await issuer.issue(renewalOf(order, second), never);

    expect([second.via, third.via]).toEqual(["mtls", "mtls"]);
    expect(new Set([first, second, third].map(({ chain }) => chain[0].serial)).size).toBe(3);
    expect(third.chain[0].names).toEqual(order.request.names);
    expect(third.chain[0].keyId).toBe(order.key.keyId);
  });

  test("a renewal keeps the length of the leaf", async () => {
    await using ca = await start();
    const order = await agedOrder(ca, "-50m", "60m");
    const before = systemClock.now();

    const [leaf] = (await issuerOf(ca, nothing).issue(order, never)).chain;

    expect(leaf.notAfter - leaf.notBefore).toBe(HOUR);
    expect(leaf.notBefore + MINUTE).toBeGreaterThanOrEqual(before - SECOND); // certificates have whole seconds
    expect(leaf.notBefore + MINUTE).toBeLessThanOrEqual(systemClock.now() + SECOND);
  });

  test("a leaf of seconds is renewed over mTLS where the CA does not date back", async () => {
    await using ca = await start({ backdate: 0, lifetime: 50 * SECOND });
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf(ca, { key: { file: secret.file } });
    const order = await orderFor("short.internal");

    const renewed = await issuer.issue(renewalOf(order, await issuer.issue(order, never)), never);

    expect(renewed.via).toBe("mtls");
  });

  test("a new key is certified by rekey over mTLS", async () => {
    await using ca = await start();
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf(ca, { key: { file: secret.file } });
    const order = await orderFor("web.internal", "10.0.0.1");
    const first = await issuer.issue(order, never);
    const key = await generateKey("ec-p384");

    const second = await issuer.issue({ ...renewalOf(order, first), key }, never);

    expect(second.via).toBe("rekey");
    expect(second.chain[0].keyId).toBe(key.keyId);
    expect(second.chain[0].names).toEqual(order.request.names);
  });

  test("an expired leaf is renewed by bearer token where the CA allows it", async () => {
    await using ca = await start({ allowRenewalAfterExpiry: true });
    const order = await agedOrder(ca, "-2m", "122s");
    await expiry(order.current.chain[0]);

    const { chain, via, failedRungs } = await issuerOf(ca, nothing).issue(order, never);

    expect(via).toBe("bearer");
    expect(chain[0].keyId).toBe(order.key.keyId);
    expect(failedRungs.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^Cannot renew over mTLS: it expired at /),
    ]);
  });

  test("where no new key can be certified, the old one's leaf is renewed rather than left to expire", async () => {
    await using ca = await start({ allowRenewalAfterExpiry: true, backdate: SECOND });
    const order = await agedOrder(ca, "-2m", "122s");
    await expiry(order.current.chain[0]);
    const key = await generateKey("ec-p256");

    const { chain, via, failedRungs } = await issuerOf(ca, nothing).issue({ ...order, key }, never);

    expect(via).toBe("bearer");
    expect(chain[0].keyId).toBe(order.key.keyId);
    expect(failedRungs.map(({ message }) => message)).toEqual([
      expect.stringMatching(/^Cannot rekey over mTLS: it expired at /),
      expect.stringMatching(/^Cannot mint: there is no password in /),
      expect.stringMatching(/^Cannot renew over mTLS: it expired at /),
    ]);
  });

  test("with no rung left for a new key nor for the old one, the hint is the command for the operator", async () => {
    await using ca = await start();
    const order = await agedOrder(ca, "-2m", "122s");
    await expiry(order.current.chain[0]);
    const key = await generateKey("ec-p256");

    const error = await failure(issuerOf(ca, { token: { file: "/run/token" } }).issue({ ...order, key }, never));

    expect(error.code).toBe("CREDENTIAL_MISSING");
    expect(error.hint).toMatch(/^step ca token aged\.internal /);
  });

  test.each([-2 * HOUR, 2 * HOUR])(
    "a bearer token is dated by the CA's clock where ours is off by %d ms",
    async (offset) => {
      await using ca = await start({ allowRenewalAfterExpiry: true });
      const order = await agedOrder(ca, "-2m", "122s");
      await expiry(order.current.chain[0]);

      const { via } = await issuerOf(ca, nothing, {}, { clock: wrongClock(offset) }).issue(order, never);

      expect(via).toBe("bearer");
    },
  );

  test("an expired leaf that may not be renewed is minted anew, and each rung's failure is told", async () => {
    await using ca = await start();
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = await agedOrder(ca, "-2m", "122s");
    await expiry(order.current.chain[0]);

    const { via, failedRungs } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);

    expect(via).toBe("token");
    expect(failedRungs.map(({ hint }) => hint)).toEqual([
      null,
      "the CA renews expired certificates only where the provisioner has allowRenewalAfterExpiry",
    ]);
    expect(failedRungs[1]?.message).toContain("certificate expired on ");
  });

  test("with no rung left, the error names all of them and gives the command for the operator", async () => {
    await using ca = await start();
    const order = await agedOrder(ca, "-2m", "122s");
    await expiry(order.current.chain[0]);

    const error = await failure(issuerOf(ca, { token: { file: "/run/certagent/token" } }).issue(order, never));

    expect(error.code).toBe("CREDENTIAL_MISSING");
    expect(error.message).toMatch(
      /^Cannot renew over mTLS: it expired at .*; cannot renew by bearer token at .*: HTTP 401, ".*"; cannot mint: there is no token in "\/run\/certagent\/token"$/,
    );
    expect(error.hint).toBe(
      `step ca token aged.internal --provisioner ${ca.provisioner.name} --ca-url ${ca.url} --root ${ca.rootFile} > /run/certagent/token`,
    );
  });

  test("a leaf that lives no longer than the backdate comes back expired, and is minted instead", async () => {
    await using ca = await start({ backdate: HOUR });
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = await agedOrder(ca, "-10m", "30m");

    const { chain, via, failedRungs } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);

    expect(via).toBe("token");
    expect(chain[0].notAfter).toBeGreaterThan(systemClock.now());
    expect(failedRungs[0]?.message).toMatch(/^Cannot renew over mTLS: the CA answers with one that ends at /);
    expect(failedRungs[1]?.message).toBe("Cannot renew by bearer token: the CA would answer with the same");
    expect(failedRungs.map(({ code }) => code)).toEqual(["CHAIN_UNUSABLE", "ISSUER_REJECTED"]);
  });

  test("a leaf that comes back expired, and cannot be minted, is an answer of no use, and the hint says how to mint", async () => {
    await using ca = await start({ backdate: HOUR });
    const order = await agedOrder(ca, "-10m", "30m");

    const error = await failure(issuerOf(ca, { token: { file: "/run/certagent/token" } }).issue(order, never));

    expect(error.code).toBe("CHAIN_UNUSABLE");
    expect(error.message).toMatch(/^Cannot renew over mTLS: the CA answers with one that ends at .*; cannot mint: /);
    expect(error.hint).toMatch(/^step ca token aged\.internal /);
    expect((error.cause as AggregateError).errors.map((rung: AgentError) => rung.code)).toEqual([
      "CHAIN_UNUSABLE",
      "ISSUER_REJECTED",
      "CREDENTIAL_MISSING",
    ]);
  });

  test("a leaf that comes back expired from rekeying is asked for by no other rung that renews", async () => {
    await using ca = await start({ backdate: HOUR });
    const order = await agedOrder(ca, "-10m", "30m");

    const issuer = issuerOf(ca, { token: { file: "/run/token" } });
    const error = await failure(issuer.issue({ ...order, key: await generateKey("ec-p256") }, never));

    expect(error.code).toBe("CHAIN_UNUSABLE");
    expect(error.hint).toMatch(/^step ca token aged\.internal /);
    expect(ca.requests()).not.toContain("/renew");
  });

  test("a leaf exactly as long as the backdate, which the CA answers with 500, is minted instead", async () => {
    await using ca = await start({ backdate: 30 * SECOND });
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = await agedOrder(ca, "-1s", "60s");
    await ca.change({ backdate: MINUTE });

    const { via } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);

    expect(via).toBe("token");
  });

  test.each([0, HOUR])(
    "where renewal is disabled, a new certificate is minted, and no clock is blamed (%d)",
    async (off) => {
      await using ca = await start({ disableRenewal: true });
      await using secret = await secretFile(ca.provisioner.jwk);
      const issuer = issuerOf(ca, { key: { file: secret.file } }, {}, { clock: wrongClock(off) });
      const order = await orderFor("web.internal");
      const first = await issuer.issue(order, never);

      const second = await issuer.issue(renewalOf(order, first), never);

      expect(second.via).toBe("token");
      const [overMtls, ...others] = second.failedRungs;
      expect(overMtls).toMatchObject({
        code: "ISSUER_REJECTED",
        hint: expect.stringMatching(/^revoked, or /) as string,
      });
      expect(others.map(({ code, hint }) => ({ code, hint }))).toEqual([
        { code: overMtls?.code, hint: overMtls?.hint },
      ]);
    },
  );

  test("a provisioner that was removed ends renewals and minting, and the error says which there are", async () => {
    await using ca = await start();
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf(ca, { key: { file: secret.file } });
    const order = await orderFor("web.internal");
    const first = await issuer.issue(order, never);
    await ca.change({ provisioned: false });

    const error = await failure(issuer.issue(renewalOf(order, first), never));

    expect(error.code).toBe("ISSUER_REJECTED");
    expect(error.hint).toContain("the CA has no JWK provisioner at all");
    expect(error.message.match(/HTTP 401/g)?.length).toBe(3);
  });

  test("a CA that restarts voids the tokens of before, and fresh ones are made where the key is there", async () => {
    await using ca = await start();
    await using token = await secretFile(await ca.token("web.internal"));
    await using jwk = await secretFile(ca.provisioner.jwk);
    await pause(1100); // a token is void when it is a whole second older than the start
    await ca.change({});

    const refused = await failure(
      issuerOf(ca, { token: { file: token.file } }).issue(await orderFor("web.internal"), never),
    );
    const { via } = await issuerOf(ca, { key: { file: jwk.file } }).issue(await orderFor("web.internal"), never);

    expect(refused.code).toBe("ISSUER_REJECTED");
    expect(refused.hint).toContain("the CA was restarted or reloaded since it was made");
    expect(ca.refusals().at(-1)).toContain("token issued before the bootstrap of certificate authority");
    expect(via).toBe("token");
  });

  test("a CA that is away is unreachable, whatever the order, and its return is enough", async () => {
    await using ca = await start();
    await using secret = await secretFile(ca.provisioner.password);
    const issuer = issuerOf(ca, { password: { file: secret.file, delete_after_use: true } });
    const order = await orderFor("web.internal");
    await ca.stop();

    const error = await failure(issuer.issue(order, never));
    await expect(access(secret.file)).rejects.toThrow("ENOENT");
    await ca.start();
    const { chain } = await issuer.issue(order, never);

    expect(error).toMatchObject({
      code: "ISSUER_UNREACHABLE",
      message: `Cannot reach ${ca.url}: connection refused`,
      hint: `Is step-ca running there? curl --cacert ${ca.rootFile} ${ca.url}/health`,
    });
    expect(chain[0].subject).toBe("web.internal");
  });

  test("a token that never reached the CA is kept for it", async () => {
    await using ca = await start();
    await using secret = await secretFile(await ca.token("web.internal", ["web.internal"], { iat: undefined }));
    const issuer = issuerOf(ca, { token: { file: secret.file, delete_after_use: true } });
    const order = await orderFor("web.internal");
    await ca.stop();

    const error = await failure(issuer.issue(order, never));
    await expect(access(secret.file)).rejects.toThrow("ENOENT");
    await ca.start();
    const { via } = await issuer.issue(order, never);

    expect(error.code).toBe("ISSUER_UNREACHABLE");
    expect(via).toBe("token");
  });

  test("a root that is not the CA's is named as the reason", async () => {
    await using ca = await start();
    await using other = await start();
    await using secret = await secretFile(ca.provisioner.jwk);
    const issuer = issuerOf({ ...ca, rootFile: other.rootFile }, { key: { file: secret.file } });

    const error = await failure(issuer.issue(await orderFor("web.internal"), never));

    expect(error.code).toBe("ISSUER_UNREACHABLE");
    expect(error.message).toBe(`Cannot reach ${ca.url}: its certificate does not chain to the pinned root`);
  });
});
