import { once } from "node:events";
import { access, mkdtempDisposable, readdir, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { HOUR, MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import { judgeChain } from "../../../src/core/fit.ts";
import type { Order } from "../../../src/core/ports.ts";
import type { Claims } from "../../../src/devca/provisioner.ts";
import { issued } from "../../../src/x509/certificate.ts";
import { generateKey, KEY_ALGORITHMS } from "../../../src/x509/key.ts";
import { CAS, type CaUnderTest } from "../../servers/ca-under-test.ts";
import { freePort } from "../../servers/daemon.ts";
import { failure, issuerOf, never, orderFor, renewalOf, requestFor, secretFile, wrongClock } from "./desk.ts";

describe.each(CAS)("first certificates from $name", ({ start }) => {
  let ca: CaUnderTest;
  beforeAll(async () => {
    ca = await start();
  });
  afterAll(() => ca[Symbol.asyncDispose]());

  test("a one-time token mints the certificate that it was made for", async () => {
    await using secret = await secretFile(`${await ca.token("web.internal", ["web.internal", "10.0.0.1"])}\n`);
    const order = await orderFor("web.internal", "10.0.0.1");

    const { chain, roots, via, failedRungs } = await issuerOf(ca, { token: { file: secret.file } }).issue(order, never);

    expect(chain[0].keyId).toBe(order.key.keyId);
    expect(chain[0].names).toEqual(order.request.names);
    expect(chain[0].subject).toBe("web.internal");
    expect(chain.length).toBe(2);
    expect(issued(chain[1] ?? chain[0], ca.root)).toBe(true);
    expect(roots.map(({ fingerprint }) => fingerprint)).toEqual([ca.root.fingerprint]);
    expect({ via, failedRungs }).toEqual({ via: "token", failedRungs: [] });
  });

  test("a password mints, and its last line break is not part of it", async () => {
    await using secret = await secretFile(`${ca.provisioner.password}\n`);

    const { chain } = await issuerOf(ca, { password: { file: secret.file } }).issue(
      await orderFor("web.internal"),
      never,
    );

    expect(chain[0].subject).toBe("web.internal");
  });

  test("a provisioner's JWK mints", async () => {
    await using secret = await secretFile(ca.provisioner.jwk);

    const { chain } = await issuerOf(ca, { key: { file: secret.file } }).issue(await orderFor("web.internal"), never);

    expect(chain[0].subject).toBe("web.internal");
  });

  test("names of every kind come back as they were asked for", async () => {
    await using secret = await secretFile(ca.provisioner.jwk);
    const names = ["api", "*.api.internal", "10.0.0.9", "fd00::9", "spiffe://example.internal/api", "ops@api.internal"];
    const order = await orderFor(...names);

    const { chain } = await issuerOf(ca, { key: { file: secret.file } }).issue(order, never);

    expect(chain[0].names).toEqual(order.request.names);
  });

  test.each(KEY_ALGORITHMS)("a key of type %s is certified and renewed", async (algorithm) => {
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = { ...(await orderFor("web.internal")), key: await generateKey(algorithm) };
    const issuer = issuerOf(ca, { key: { file: secret.file } });

    const first = await issuer.issue(order, never);
    const second = await issuer.issue(renewalOf(order, first), never);

    expect([first.chain[0].key, second.chain[0].key]).toEqual([algorithm, algorithm]);
    expect(second.via).toBe("mtls");
  });

  test("the lifetime of the spec is asked for, and the CA dates it back by its minute", async () => {
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = { ...(await orderFor("web.internal")), request: requestFor(["web.internal"], HOUR) };

    const [leaf] = (await issuerOf(ca, { key: { file: secret.file } }).issue(order, never)).chain;

    expect(leaf.notAfter - leaf.notBefore).toBe(HOUR + MINUTE);
  });

  test("a lifetime over the limit is refused with the CA's words and what to do", async () => {
    await using secret = await secretFile(ca.provisioner.jwk);
    const order = { ...(await orderFor("web.internal")), request: requestFor(["web.internal"], 48 * HOUR) };

    const error = await failure(issuerOf(ca, { key: { file: secret.file } }).issue(order, never));

    expect(error).toMatchObject({
      code: "ISSUER_REJECTED",
      message: `Cannot mint at ${ca.url}: HTTP 403, "The request was forbidden by the certificate authority: requested duration of 48h1m0s is more than the authorized maximum certificate duration of 24h1m0s."`,
      hint: "ask for a shorter lifetime in the spec, or raise maxTLSCertDuration of the provisioner",
    });
  });

  test("a token is sent once, and the next need says that it was used", async () => {
    await using secret = await secretFile(await ca.token("once.internal"));
    const issuer = issuerOf(ca, { token: { file: secret.file } });
    const order = await orderFor("once.internal");
    await issuer.issue(order, never);
    const asked = ca.requests().length;

    const error = await failure(issuer.issue(order, never));

    expect(error.code).toBe("CREDENTIAL_MISSING");
    expect(error.message).toBe(`Cannot mint: the token in "${secret.file}" was used already`);
    expect(error.hint).toBe(
      `step ca token once.internal --provisioner ${ca.provisioner.name} --ca-url ${ca.url} --root ${ca.rootFile} > ${secret.file}`,
    );
    expect(ca.requests().length).toBe(asked);
  });

  test.each([false, true])(
    "a token of which bytes were sent is not sent again after a restart, and where it is to be deleted (%s) it is then",
    async (deletes) => {
      await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-spent-"));
      const token = await ca.token("restart.internal");
      await using secret = await secretFile(token);
      const start = () =>
        issuerOf(ca, { token: { file: secret.file, delete_after_use: deletes } }, {}, { spentFolder: folder.path });
      const order = await orderFor("restart.internal");
      await start().issue(order, never);
      // As the file still stands there where the process was killed in its first attempt.
      await writeFile(secret.file, token);
      const asked = ca.requests().length;

      const error = await failure(start().issue(order, never));

      expect(error.message).toBe(`Cannot mint: the token in "${secret.file}" was used already`);
      expect(ca.requests().length).toBe(asked);
      expect(await readdir(dirname(secret.file))).toEqual(deletes ? [] : ["secret"]);
    },
  );

  test("a token is offered after a restart where its attempt was ended before there was a connection", async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-spent-"));
    await using secret = await secretFile(await ca.token("cut.internal"));
    const stop = new AbortController();
    await using silent = createServer(() => stop.abort()).listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const order = await orderFor("cut.internal");
    const issueAt = async (url: string, signal: AbortSignal) =>
      await issuerOf({ ...ca, url }, { token: { file: secret.file } }, {}, { spentFolder: folder.path }).issue(
        order,
        signal,
      );

    await expect(issueAt(`https://127.0.0.1:${port}`, stop.signal)).rejects.toThrow(/aborted/);
    const { via } = await issueAt(ca.url, never);

    expect(via).toBe("token");
  });

  test("a token that spells its names in capitals mints, as the spec asks for the same names", async () => {
    await using ca = await start();
    const spelt = ["Web.Internal", "WWW.web.internal", "spiffe://Example.internal/Web", "2001:DB8::1"];
    await using secret = await secretFile(await ca.token("Web.Internal", spelt));
    const order: Order = { request: requestFor(spelt), key: await generateKey("ec-p256") };

    const { chain, roots } = await issuerOf(ca, { token: { file: secret.file } }).issue(order, never);

    expect(judgeChain({ ...order, chain, roots, now: systemClock.now() })[0].subject).toBe("Web.Internal");
  });

  test("a token that somebody else used is refused, and the refusal says how to make a new one", async () => {
    const token = await ca.token("replay.internal");
    await using mine = await secretFile(token);
    await using theirs = await secretFile(token);
    await issuerOf(ca, { token: { file: theirs.file } }).issue(await orderFor("replay.internal"), never);

    const error = await failure(
      issuerOf(ca, { token: { file: mine.file } }).issue(await orderFor("replay.internal"), never),
    );

    expect(error.code).toBe("ISSUER_REJECTED");
    expect(error.hint).toMatch(
      /^it was used before, or .*; make a new one: step ca token replay\.internal --provisioner/,
    );
    expect(ca.refusals().at(-1)).toContain("token already used");
  });

  test("a token for other names is not offered, and the complaint says whose it is", async () => {
    await using secret = await secretFile(await ca.token("other.internal", ["other.internal", "10.0.0.5"]));

    const error = await failure(
      issuerOf(ca, { token: { file: secret.file } }).issue(await orderFor("web.internal"), never),
    );

    expect(error.code).toBe("CREDENTIAL_MISSING");
    expect(error.message).toBe(
      `Cannot mint: the token in "${secret.file}" is for "other.internal" with the names other.internal, 10.0.0.5`,
    );
  });

  test("an expired token is refused, and the refusal says when it expired", async () => {
    const exp = Math.floor(Date.parse("2026-01-02T03:04:05Z") / SECOND);
    await using secret = await secretFile(await ca.token("late.internal", ["late.internal"], { exp }));

    const error = await failure(
      issuerOf(ca, { token: { file: secret.file } }).issue(await orderFor("late.internal"), never),
    );

    expect(error.hint).toContain("the token expired at 2026-01-02T03:04:05Z; make a new one: step ca token");
  });

  test.each<[string, Claims, RegExp]>([
    ["begins tomorrow", { nbf: 4_102_444_800 }, /^the token is valid only from 2100-01-01T00:00:00Z; make a new one/],
    [
      "is of another provisioner",
      { iss: "gone" },
      /^the token is of the provisioner "gone", not "[^"]+"; make a new one/,
    ],
    ["is for another CA", { aud: "https://old.internal/1.0/sign" }, /, or https:\S+sign is another CA; make a new one/],
  ])("the refusal of a token that %s says so", async (_, claims, hint) => {
    await using secret = await secretFile(await ca.token("odd.internal", ["odd.internal"], claims));

    const error = await failure(
      issuerOf(ca, { token: { file: secret.file } }).issue(await orderFor("odd.internal"), never),
    );

    expect(error.hint).toMatch(hint);
  });

  test("a wrong password is named as such, and nothing is asked to be signed", async () => {
    await using secret = await secretFile("wrong");
    const asked = ca.requests().length;

    const error = await failure(
      issuerOf(ca, { password: { file: secret.file } }).issue(await orderFor("web.internal"), never),
    );

    expect(error.code).toBe("CREDENTIAL_MISSING");
    expect(error.message).toBe(
      `Cannot mint: the password in "${secret.file}" does not open the key of the provisioner "${ca.provisioner.name}"`,
    );
    expect(ca.requests().slice(asked)).toEqual(["/provisioners"]);
  });

  test.each(["password", "token", "key"])(
    "an empty file for a %s is named, with the command that fills it",
    async (kind) => {
      await using ca = await start();
      await using secret = await secretFile("\n");

      const error = await failure(
        issuerOf(ca, { [kind]: { file: secret.file } }).issue(await orderFor("a.internal"), never),
      );

      expect(error).toMatchObject({ code: "CREDENTIAL_MISSING", message: `Cannot use "${secret.file}": it is empty` });
      expect(error.hint).toMatch(new RegExp(`(?:^step ca token a\\.internal .*> |^install -m 0600 .*)${secret.file}$`));
    },
  );

  test("a provisioner that the CA does not have is named beside those that it has", async () => {
    await using secret = await secretFile(ca.provisioner.password);
    const other = { ...ca, provisioner: { name: "nobody" } };

    const error = await failure(
      issuerOf(other, { password: { file: secret.file } }).issue(await orderFor("web.internal"), never),
    );

    expect(error).toMatchObject({
      code: "ISSUER_REJECTED",
      message: `Cannot use the provisioner "nobody": the CA has no JWK provisioner of that name`,
      hint: `it has "${ca.provisioner.name}"`,
    });
  });

  test.each([0, HOUR])(
    "a key that the CA does not know the provisioner by is told apart by its id, whatever the clock (%d)",
    async (off) => {
      const { x, ...jwk } = JSON.parse(ca.provisioner.jwk) as Record<string, string>;
      await using secret = await secretFile(JSON.stringify({ ...jwk, x, kid: "another" }));

      const issuer = issuerOf(ca, { key: { file: secret.file } }, {}, { clock: wrongClock(off) });
      const error = await failure(issuer.issue(await orderFor("web.internal"), never));

      expect(error.code).toBe("ISSUER_REJECTED");
      expect(error.hint).toBe(
        `the CA knows the provisioner "${ca.provisioner.name}" by the key ${ca.provisioner.kid}, but the key here is another`,
      );
    },
  );

  test.each([-HOUR, HOUR])(
    "a clock that is wrong by %d ms does not keep a host from its certificate",
    async (offset) => {
      await using secret = await secretFile(ca.provisioner.jwk);
      const issuer = issuerOf(ca, { key: { file: secret.file } }, {}, { clock: wrongClock(offset) });

      const { chain } = await issuer.issue(await orderFor("web.internal"), never);

      expect(chain[0].subject).toBe("web.internal");
    },
  );

  test("a wrong clock is named where a token of somebody else is refused", async () => {
    await using secret = await secretFile(await ca.token("clock.internal", ["clock.internal"], { exp: 1 }));
    const issuer = issuerOf(ca, { token: { file: secret.file } }, {}, { clock: wrongClock(-2 * HOUR) });

    const error = await failure(issuer.issue(await orderFor("clock.internal"), never));

    expect(error.code).toBe("CLOCK_SUSPECT");
    expect(error.hint).toContain("this host's clock is 2 h behind the CA's");
  });

  test("the root is fetched by its fingerprint while its file is missing, and kept", async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-roots-"));
    await using secret = await secretFile(ca.provisioner.jwk);
    const root = { file: join(folder.path, "root.crt"), fingerprint: ca.root.fingerprint };
    const issuer = issuerOf(ca, { key: { file: secret.file } }, { root }, { cacheFolder: folder.path });

    const { roots } = await issuer.issue(await orderFor("web.internal"), never);
    const asked = ca.requests().length;
    const again = await issuerOf(ca, { key: { file: secret.file } }, { root }, { cacheFolder: folder.path }).roots(
      never,
    );

    expect(roots.map(({ fingerprint }) => fingerprint)).toEqual([ca.root.fingerprint]);
    expect(again).toEqual(roots);
    expect(ca.requests().length).toBe(asked);
    expect(await readdir(folder.path)).toEqual([`root-${ca.root.fingerprint}.pem`]);
  });

  test("a wrong fingerprint ends it before any secret is used", async () => {
    await using secret = await secretFile(ca.provisioner.jwk);
    const root = { fingerprint: "0".repeat(64) };
    const asked = ca.requests().length;

    const error = await failure(
      issuerOf(ca, { key: { file: secret.file } }, { root }).issue(await orderFor("web.internal"), never),
    );

    expect(error.code).toBe("ISSUER_REJECTED");
    expect(error.message).toContain(
      `root certificate with fingerprint \\"${root.fingerprint}\\" was not found`.replaceAll("\\", ""),
    );
    expect(ca.requests().slice(asked)).toEqual([`/root/${root.fingerprint}`]);
  });

  test("the addresses are tried in order until one answers", async () => {
    await using secret = await secretFile(await ca.token("urls.internal"));
    const urls = [`https://127.0.0.1:${await freePort()}`, ca.url];
    const issuer = issuerOf(ca, { token: { file: secret.file } }, { url: undefined, urls });

    const { chain } = await issuer.issue(await orderFor("urls.internal"), never);

    expect(chain[0].subject).toBe("urls.internal");
  });

  test("a password file is gone once the first attempt has ended, and the password mints for all who still wait", async () => {
    await using secret = await secretFile(ca.provisioner.password);
    const issuer = issuerOf(ca, { password: { file: secret.file, delete_after_use: true } });

    await issuer.issue(await orderFor("one.internal"), never);
    const gone = await access(secret.file).then(
      () => false,
      () => true,
    );
    const second = await issuer.issue(await orderFor("two.internal"), never);
    const held = issuer.holdsSecret();
    issuer.noneWaits();
    const third = await failure(issuer.issue(await orderFor("three.internal"), never));

    expect([gone, held, issuer.holdsSecret()]).toEqual([true, true, false]);
    expect(second.chain[0].subject).toBe("two.internal");
    expect(third.code).toBe("CREDENTIAL_MISSING");
    expect(third.hint).toBe(`install -m 0600 PASSWORD_FILE ${secret.file}`);
  });

  test("a credential of the unit mints", async () => {
    await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-credentials-"));
    await writeFile(join(folder.path, "provisioner-password"), ca.provisioner.password);
    const secret = { password: { credential: "provisioner-password" } };
    const issuer = issuerOf(ca, secret, {}, { credentialsDirectory: folder.path });

    const { chain } = await issuer.issue(await orderFor("web.internal"), never);

    expect(chain[0].subject).toBe("web.internal");
  });
});
