/** What goes wrong around the program: other specs, hanging commands, readers that do not read, disks that are full. */
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { chmod, chown, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DAY, MINUTE, SECOND, systemClock } from "../../../src/base/time.ts";
import type { CertificateStatus, StatusDocument } from "../../../src/core/status-document.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import { layoutOf } from "../../../src/store/layout.ts";
import { freePort } from "../../servers/daemon.ts";
import { type Agent, type AgentSettings, certagent, type Home, startAgent } from "../../servers/program.ts";
import { WAYS, type Way } from "../../servers/ways.ts";
import { isCurrent, issuancesOf, leafIn } from "../walk/look.ts";
import { homeAt } from "./home.ts";

let ca: DevCa;

beforeAll(async () => {
  ca = await startDevCa({ policy: { longest: DAY } });
});
afterAll(async () => {
  await ca.stop();
});

function specOf(home: Home, name: string, more: Readonly<Record<string, unknown>> = {}): string {
  const outputs = [{ format: "combined", path: join(home.folder, `${name}.pem`) }];
  return JSON.stringify({ subject: `${name}.internal`, outputs, ...more });
}

async function addSpec(home: Home, name: string, more: Readonly<Record<string, unknown>> = {}): Promise<void> {
  await home.write(name, specOf(home, name, more));
}

const requestsOf = (authority: DevCa): { requests(): readonly string[] } => ({
  requests: () => authority.requests.map(({ path }) => path),
});

test("one good spec among 199 broken ones is as quick as alone", async () => {
  await using alone = await homeAt(ca);
  await using crowded = await homeAt(ca);
  for (let number = 0; number < 199; number++) {
    await crowded.write(`broken-${number}`, number % 2 === 0 ? "subject: [" : specOf(crowded, "x", { subjct: "x" }));
  }
  for (const home of [alone, crowded]) await addSpec(home, "good");

  // At one time, so that a busy machine is as busy for the one as for the other.
  const [quick, slow] = await Promise.all([timeToCurrent(alone), timeToCurrent(crowded)]);

  expect(slow).toBeLessThan(2 * quick + 2 * SECOND);
});

async function timeToCurrent(home: Home): Promise<number> {
  const begin = systemClock.monotonic();
  await using agent = await startAgent(home);
  const all = await agent.until("the good one is current", (now) => isCurrent(now.get("good")));
  const end = systemClock.monotonic();
  const broken = [...all.values()].filter(({ name }) => name !== "good");
  for (const { state, failure } of broken) expect([state, failure?.code]).toEqual(["invalid", "SPEC_INVALID"]);
  return end - begin;
}

test("a password that was tried at a wrong address mints once that is put right, though its file is gone", async () => {
  await using home = await homeAt(ca);
  const file = join(home.folder, "password");
  const configure = async (url: string): Promise<void> => {
    const password = { file, delete_after_use: true };
    const provisioner = { type: "jwk", name: ca.provisioner.name, password };
    const internal = { type: "step-ca", url, root: { file: join(home.folder, "root") }, provisioner };
    await home.configure({ issuers: { internal }, default_issuer: "internal" });
  };
  await writeFile(file, ca.provisioner.password, { mode: 0o600 });
  await configure(`https://127.0.0.1:${await freePort()}`);
  await addSpec(home, "web");
  await using agent = await startAgent(home);
  await agent.until("the wrong address is told of", (now) => now.get("web")?.failure?.code === "ISSUER_UNREACHABLE");
  expect(existsSync(file)).toBe(false);

  await configure(ca.url);

  await agent.until("the password serves", (now) => isCurrent(now.get("web")));
});

test("a secret that is put in its place is tried within half a minute, however long the back-off is by then", async () => {
  await using home = await homeAt(ca);
  const file = join(home.folder, "token");
  const provisioner = { type: "jwk", name: ca.provisioner.name, token: { file, delete_after_use: true } };
  const internal = { type: "step-ca", url: ca.url, root: { file: join(home.folder, "root") }, provisioner };
  await home.configure({ issuers: { internal }, default_issuer: "internal" });
  await addSpec(home, "web");
  for (let run = 0; run < 5; run++) await certagent(home, "once"); // the next try is minutes away
  await using agent = await startAgent(home);
  await agent.until("it is told what is missing", (now) => now.get("web")?.failure?.code === "CREDENTIAL_MISSING");

  await writeFile(`${file}.new`, await ca.token("web.internal"), { mode: 0o600 });
  await rename(`${file}.new`, file);

  await agent.until("the token serves", (now) => isCurrent(now.get("web")));
});

describe.each(Object.values<Way>(WAYS))("without a secret, $name", { concurrent: true }, (way) => {
  // Renewed as early as may be: a machine that is slow has half a minute for it.
  const policy = { lifetime: 40 * SECOND, backdate: 0 };
  const renew = { before: "40s" };

  test("a spec whose names were edited is renewed for those of before, told as failing, until one is there", async () => {
    await using authority = await startDevCa({ policy });
    await using home = await homeAt(authority, way.user);
    await using _beside = await way.prepare(home);
    const names = async (): Promise<string | undefined> =>
      new X509Certificate(await readFile(join(home.folder, "web.pem"))).subjectAltName;
    await addSpec(home, "web", { renew });
    await using agent = await startAgent(home, way.agent);
    await agent.until("it is minted", (now) => isCurrent(now.get("web")));
    const key = join(home.folder, "jwk");
    await rename(key, `${key}.away`);

    await addSpec(home, "web", { renew, sans: ["web.internal", "new.internal"] });

    await agent.until("it is renewed twice as it was", (now) => isRenewedWithout(now.get("web")));
    expect(await names()).toBe("DNS:web.internal");

    await rename(`${key}.away`, key);

    await agent.until("it has what the spec asks for", (now) => isCurrent(now.get("web")));
    expect(await names()).toBe("DNS:new.internal, DNS:web.internal");
  });

  test("a pair that was found on the host is renewed for its names of before where the spec's were edited at once", async () => {
    await using authority = await startDevCa({ policy });
    await using home = await homeAt(authority, way.user);
    await addSpec(home, "web", { renew });
    expect(await certagent(home, "once")).toMatchObject({ code: 0 });
    await rm(join(home.folder, "jwk"));
    const again = home.reinstalled();
    await using _beside = await way.prepare(again);
    await using agent = await startAgent(again, way.agent);
    await agent.until("it is taken over", (now) => isCurrent(now.get("web")));
    const found = await leafIn(join(home.folder, "web.pem"));

    await addSpec(again, "web", { renew, sans: ["web.internal", "new.internal"] });

    await agent.until("it is renewed as it was", (now) => isRenewedWithout(now.get("web")));
    expect(await leafIn(join(home.folder, "web.pem"))).not.toBe(found);
  });

  test.for([
    ["it is what the spec asks for again", {}],
    ["for its names of before", { sans: ["web.internal", "new.internal"] }],
  ] as const)("a spec whose issuer was given another name is renewed by that: %s", async ([, edit], { expect }) => {
    await using authority = await startDevCa({ policy });
    await using home = await homeAt(authority, way.user);
    await using _beside = await way.prepare(home);
    await addSpec(home, "web", { renew });
    await using agent = await startAgent(home, way.agent);
    await agent.until("it is minted", (now) => isCurrent(now.get("web")));
    await rm(join(home.folder, "jwk"));
    const { issuers } = JSON.parse(await readFile(home.config, "utf8")) as { issuers: { internal: object } };
    if ("sans" in edit) await addSpec(home, "web", { renew, ...edit });

    await home.configure({ issuers: { corp: issuers.internal }, default_issuer: "corp" });

    const holds = "sans" in edit ? isRenewedWithout : isCurrent;
    const isRenewed = (one: CertificateStatus | undefined) => (one?.leaf?.generation ?? 0) > 1 && holds(one);
    const after = await agent.until("it is renewed", (now) => isRenewed(now.get("web")));
    expect(after.get("web")?.issuer).toBe("corp");
  });

  test("a spec that is to go to another CA is renewed by the one of before", async () => {
    await using before = await startDevCa({ policy });
    await using after = await startDevCa({ policy });
    await using home = await homeAt(before, way.user);
    await using _beside = await way.prepare(home);
    await addSpec(home, "web", { renew });
    await using agent = await startAgent(home, way.agent);
    await agent.until("it is minted", (now) => isCurrent(now.get("web")));
    const [root, key] = [join(home.folder, "root.after"), join(home.folder, "jwk.after")];
    const { issuers } = JSON.parse(await readFile(home.config, "utf8")) as { issuers: object };
    const provisioner = { type: "jwk", name: after.provisioner.name, key: { file: key } };
    const other = { type: "step-ca", url: after.url, root: { file: root }, provisioner };

    await home.configure({ issuers: { ...issuers, other }, default_issuer: "other" });

    await agent.until("the one of before has renewed it twice", (now) => isRenewedWithout(now.get("web")));

    await writeFile(root, after.root.pem);
    await writeFile(`${key}.new`, after.provisioner.jwk, { mode: 0o600 });
    await chown(`${key}.new`, way.user, way.user);
    await rename(`${key}.new`, key);

    await agent.until("it is the other one's", (now) => isCurrent(now.get("web")));
    expect(after.requests.filter(({ path }) => path === "/sign").length).toBeGreaterThan(0);
  });
});

test.for(Object.values(WAYS))(
  "what is in force is renewed for as long as a service refuses the edit, which needs no secret again ($name)",
  { concurrent: true },
  async (way: Way, { expect }) => {
    await using authority = await startDevCa({ policy: { lifetime: 40 * SECOND, backdate: 0 } });
    await using home = await homeAt(authority, way.user);
    await using _beside = await way.prepare(home);
    const [served, mended] = [join(home.folder, "web.pem"), join(home.folder, "mended")];
    const isOld = `! openssl x509 -in ${served} -noout -ext subjectAltName | grep -q new`;
    const services = [{ type: "command", reload: ["/bin/sh", "-c", `test -e ${mended} || ${isOld}`] }];
    const spec = { renew: { before: "40s" }, services };
    await addSpec(home, "web", spec);
    await using agent = await startAgent(home, way.agent);
    await agent.until("it is minted", (now) => isCurrent(now.get("web")));

    await addSpec(home, "web", { ...spec, sans: ["web.internal", "new.internal"] });
    await agent.until("it is refused", (now) => now.get("web")?.failure?.code === "RELOAD_FAILED");
    await rename(join(home.folder, "jwk"), join(home.folder, "jwk.away"));

    const renewed = (now: ReadonlyMap<string, CertificateStatus>): boolean =>
      now.get("web")?.failure?.code === "RELOAD_FAILED" && Number(now.get("web")?.leaf?.generation) > 4;
    await agent.until("it is renewed twice as it was", renewed);
    expect(new X509Certificate(await readFile(served)).subjectAltName).toBe("DNS:web.internal");

    await writeFile(mended, "");

    await agent.until("it has what the spec asks for", (now) => isCurrent(now.get("web")));
    expect(new X509Certificate(await readFile(served)).subjectAltName).toBe("DNS:new.internal, DNS:web.internal");
  },
);

/** Whether it is renewed again and again, and lacks the secret for what its spec asks for. */
function isRenewedWithout(one: CertificateStatus | undefined): boolean {
  return one?.state === "failing" && one.failure?.code === "CREDENTIAL_MISSING" && Number(one.leaf?.generation) > 2;
}

describe.each(Object.values<Way>(WAYS))("a CA that is to have another root, $name", { concurrent: true }, (way) => {
  test("has that in the outputs within a minute once it is pinned, and no certificate is issued for it", async () => {
    await using authority = await startDevCa({ policy: { lifetime: DAY, longest: DAY } });
    await using home = await homeAt(authority, way.user);
    await using _beside = await way.prepare(home);
    const outputs = ["combined", "roots"].map((format) => ({ format, path: join(home.folder, `web.${format}`) }));
    const told = join(home.folder, "told");
    const services = [{ type: "command", reload: ["/bin/sh", "-c", `echo >>${told}`] }];
    await addSpec(home, "web", { outputs, services });
    await using agent = await startAgent(home, way.agent);
    const before = await agent.until("it is minted", (now) => isCurrent(now.get("web")));
    const asked = authority.requests.length;
    const both = `${authority.root.pem}${ca.root.pem}`;

    await writeFile(join(home.folder, "root.new"), both, { mode: 0o644 });
    await rename(join(home.folder, "root.new"), join(home.folder, "root"));

    const after = await agent.until("it is deployed", (now) => {
      return isCurrent(now.get("web")) && now.get("web")?.leaf?.generation === 2;
    });
    expect(await readFile(join(home.folder, "web.roots"), "utf8")).toBe(both);
    expect(after.get("web")?.leaf?.fingerprint).toBe(before.get("web")?.leaf?.fingerprint);
    expect(authority.requests.length).toBe(asked);
    expect((await readFile(told, "utf8")).length).toBe(2);
  });
});

test.for(Object.values(WAYS))(
  "without a secret what stands at the outputs is renewed once the edit is taken back that its service has refused ($name)",
  async (way: Way) => {
    await using home = await homeAt(ca, way.user);
    await using _beside = await way.prepare(home);
    const served = join(home.folder, "web.pem");
    const refusesNew = ["/bin/sh", "-c", `! openssl x509 -in ${served} -noout -ext subjectAltName | grep -q new`];
    const services = [{ type: "command", reload: refusesNew }];
    await addSpec(home, "web", { services });
    await using agent = await startAgent(home, way.agent);
    await agent.until("it is minted", (now) => isCurrent(now.get("web")));
    await addSpec(home, "web", { services, sans: ["web.internal", "new.internal"] });
    await agent.until("it is gone back to", (now) => now.get("web")?.failure?.code === "RELOAD_FAILED");
    await rename(join(home.folder, "jwk"), join(home.folder, "jwk.away"));

    await addSpec(home, "web", { services });

    await agent.until(
      "it is renewed",
      (now) => isCurrent(now.get("web")) && Number(now.get("web")?.leaf?.generation) > 2,
    );
    expect(new X509Certificate(await readFile(served)).subjectAltName).toBe("DNS:web.internal");
  },
);

test("a secret that root alone may read is told with what opens it, and serves then", async () => {
  const way = WAYS.apart;
  await using home = await homeAt(ca, 0);
  await using _beside = await way.prepare(home);
  await addSpec(home, "web");
  await using agent = await startAgent(home, way.agent);
  const all = await agent.until("it is told", (now) => now.get("web")?.failure?.code === "CREDENTIAL_MISSING");
  const opens = /chgrp \d+ \S+ && chmod 0640 [^;\s]+/.exec(all.get("web")?.failure?.hint ?? "");

  execFileSync("/bin/sh", ["-c", opens?.[0] ?? "false"]);

  await agent.until("it serves", (now) => isCurrent(now.get("web")));
});

test("a CA's root that root alone may read, as step writes it, is told with what opens it, and is trusted then", async () => {
  const way = WAYS.apart;
  await using home = await homeAt(ca, way.user);
  const root = join(home.folder, "root");
  await chmod(root, 0o600);
  await using _beside = await way.prepare(home);
  await addSpec(home, "web");
  await using agent = await startAgent(home, way.agent);
  const all = await agent.until("it is told", (now) => now.get("web")?.failure?.code === "SPEC_INVALID");

  expect(all.get("web")?.failure?.hint).toContain(`chmod 0644 ${root};`);

  await chmod(root, 0o644);
  await agent.until("it is trusted", (now) => isCurrent(now.get("web")));
});

test("what `once` fails of is counted and told from one to the next, and where the storm breaker holds it, too", async () => {
  await using authority = await startDevCa();
  authority.faults = { leaf: "wrong-key" };
  await using home = await homeAt(authority);
  await addSpec(home, "web");

  for (let run = 0; run < 4; run++) expect((await certagent(home, "once")).code).toBe(1);

  const { certificates } = JSON.parse((await certagent(home, "status", "--json")).stdout) as StatusDocument;
  expect(certificates).toMatchObject([{ state: "failing", failure: { code: "CHAIN_UNUSABLE", attempts: 3 } }]);
  expect(issuancesOf(requestsOf(authority)).sign).toBe(3);
});

test("what cannot be deployed is told in the journal once, with the remedy, before a certificate is spent on it", async () => {
  await using authority = await startDevCa();
  await using home = await homeAt(authority);
  const path = join(home.folder, "web.pem");
  await addSpec(home, "web", { outputs: [{ format: "combined", path, owner: "nobody-yet" }] });
  await using agent = await startAgent(home);

  await agent.until("it is failing", (all) => all.get("web")?.failure?.code === "DEPLOY_FAILED");
  await addSpec(home, "other");
  await agent.until("the other is current", (all) => isCurrent(all.get("other")));

  const told = agent.journal().filter((line) => line.startsWith("<4>") && line.includes("certificate=web "));
  expect(told).toEqual([
    expect.stringMatching(/this host has no user .*nobody-yet.* hint=".*getent passwd nobody-yet/),
  ]);
  expect(issuancesOf(requestsOf(authority))).toEqual({ sign: 1, renew: 0 });
});

describe.each(Object.values<Way>(WAYS))("what hangs, $name", { concurrent: true }, (way) => {
  /** Everything that keeps a home's certificates. */
  async function running(home: Home): Promise<Agent & AsyncDisposable> {
    const beside = await way.prepare(home);
    const agent = await startAgent(home, way.agent);
    return {
      ...agent,
      [Symbol.asyncDispose]: async () => {
        await agent[Symbol.asyncDispose]();
        await beside[Symbol.asyncDispose]();
      },
    };
  }

  test("a reload that hangs delays no other spec, and neither does its end by SIGTERM", async ({ expect }) => {
    await using home = await homeAt(ca, way.user);
    await addSpec(home, "hangs", {
      services: [{ type: "command", reload: ["/bin/sleep", "30"], timeout: "1m" }],
    });
    await using agent = await running(home);
    await expect.poll(() => existsSync(join(home.folder, "hangs.pem"))).toBe(true);

    await addSpec(home, "quick", { services: [{ type: "command", reload: ["/bin/true"] }] });
    const all = await agent.until("the other is current", (now) => isCurrent(now.get("quick")));
    expect(isCurrent(all.get("hangs"))).toBe(false);
    expect(await agent.stop("SIGTERM")).toMatchObject({ code: 0 });
  });

  test("five specs of a CA that never answers do not delay one of another", async ({ expect }) => {
    await using silent = await startDevCa();
    silent.faults = { transport: "silent" };
    await using home = await homeAt(ca, way.user);
    const config = JSON.parse(await readFile(home.config, "utf8")) as { issuers: { internal: object } };
    await writeFile(join(home.folder, "silent-root"), silent.root.pem);
    const other = { ...config.issuers.internal, url: silent.url, root: { file: join(home.folder, "silent-root") } };
    await home.configure({ ...config, issuers: { ...config.issuers, other } });
    for (const number of [1, 2, 3, 4, 5]) await addSpec(home, `a-${number}`, { issuer: "other" });
    await using agent = await running(home);
    await expect.poll(() => silent.requests.length).toBeGreaterThan(0);

    await addSpec(home, "quick");
    const all = await agent.until("the other is current", (now) => isCurrent(now.get("quick")));
    expect([...all.values()].filter(({ failure }) => failure !== null)).toEqual([]); // none has even given up yet
  });

  test("a generation that is damaged under a running agent is as good as missing", async ({ expect }) => {
    await using home = await homeAt(ca, way.user);
    await addSpec(home, "web", { lifetime: "8m" });
    await using agent = await running(home);
    await agent.until("it is current", (all) => isCurrent(all.get("web")));
    await writeFile(join(layoutOf(home.state, home.runtime).agent.generations("web"), "1.json"), "{");

    agent.send("SIGHUP");
    const all = await agent.until("it is renewed", (now) => {
      return isCurrent(now.get("web")) && now.get("web")?.leaf?.generation !== 1;
    });

    expect(await leafIn(join(home.folder, "web.pem"))).toBe(all.get("web")?.leaf?.fingerprint);
  });
});

describe.concurrent("output", () => {
  test.each(["unread", "closed"] as const)("that is %s stops no renewal, and no end", async (output) => {
    await using authority = await startDevCa({ policy: { lifetime: 4 * SECOND, backdate: 0 } });
    await using home = await homeAt(authority);
    // Broken over and over, so that there is much to tell: far more than a pipe holds.
    for (let number = 0; number < 10; number++) {
      const services = [{ type: "command", reload: ["/bin/sh", "-c", `echo ${"word ".repeat(500)}; false`] }];
      await addSpec(home, `loud-${number}`, { services });
    }
    await addSpec(home, "quiet");
    await using agent = await startAgent(home, { output });

    await agent.until("it is renewed time and again", (all) => (all.get("quiet")?.leaf?.generation ?? 0) >= 4);
    await agent.until("it is current", (all) => isCurrent(all.get("quiet")));
    const { code, stderr } = await agent.stop("SIGTERM");
    expect(code).toBe(0);
    // As much as a pipe holds: what came then found it full.
    if (output === "unread") expect(Buffer.byteLength(stderr)).toBeGreaterThan(60_000);
  });
});

describe("a state folder", () => {
  /** The state folder is a small file system of its own, which only the agent sees. */
  const throughSmallDisk = (home: Home): AgentSettings => ({
    through: [
      "unshare",
      "--mount",
      "/bin/sh",
      "-c",
      'mkdir -p "$0" && mount -t tmpfs -o size=256k tmpfs "$0" && exec "$@"',
      home.state,
    ],
  });

  async function fill(agent: Agent, home: Home): Promise<void> {
    const file = join(`/proc/${agent.pid}/root`, home.state, "filler");
    for (const size of [65_536, 4096]) {
      while (await appended(file, size));
    }
  }

  async function appended(file: string, size: number): Promise<boolean> {
    return await writeFile(file, Buffer.alloc(size), { flag: "a" }).then(
      () => true,
      () => false,
    );
  }

  test("that is full fails with a clear message, costs at most one issuance, and heals", async () => {
    await using authority = await startDevCa({ policy: { lifetime: 8 * MINUTE, backdate: 0 } });
    await using home = await homeAt(authority);
    await addSpec(home, "web");
    await using agent = await startAgent(home, throughSmallDisk(home));
    await agent.until("it is current", (all) => isCurrent(all.get("web")));
    const before = await readFile(join(home.folder, "web.pem"));
    await fill(agent, home);
    const issued = issuancesOf(requestsOf(authority));

    agent.send("SIGHUP");
    const all = await agent.until("it fails", (now) => now.get("web")?.state === "failing");
    expect(all.get("web")?.failure).toMatchObject({
      code: "DEPLOY_FAILED",
      message: expect.stringMatching(/^Cannot write "[^"]*": no space left/),
    });
    expect(await readFile(join(home.folder, "web.pem"))).toEqual(before);
    expect(agent.journal().some((line) => /^<4>.*no space left/.test(line))).toBe(true);

    await writeFile(join(`/proc/${agent.pid}/root`, home.state, "filler"), "");
    await agent.until("it heals by itself", (now) => {
      return isCurrent(now.get("web")) && now.get("web")?.leaf?.generation !== all.get("web")?.leaf?.generation;
    });
    const { sign, renew } = issuancesOf(requestsOf(authority));
    expect({ sign: sign - issued.sign, renew: renew - issued.renew }).toEqual({ sign: 0, renew: 1 });
  });
});
