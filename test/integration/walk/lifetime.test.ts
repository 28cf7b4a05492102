/** Certificates of a minute: what happens by itself, when nobody asks for anything and no secret is left on the host. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { MINUTE, SECOND } from "../../../src/base/time.ts";
import type { CertificateStatus } from "../../../src/core/status-document.ts";
import { type DevCa, startDevCa } from "../../../src/devca/devca.ts";
import type { Agent, Certificates } from "../../servers/program.ts";
import { areCurrent, isCurrent, issuancesOf } from "./look.ts";
import { FIVE, makeWorld, type World } from "./world.ts";

const LIFETIME = MINUTE;

let world: World;
let other: DevCa;
let agent: Agent;

beforeAll(async () => {
  world = await makeWorld(LIFETIME);
  other = await startDevCa({ policy: { lifetime: 24 * SECOND, backdate: 0 } });
  await addOther();
  await world.givePassword();
  agent = await world.start();
  await agent.until("all are current", areCurrent);
});
afterAll(async () => {
  await agent?.stop("SIGKILL");
  await other.stop();
  await world[Symbol.asyncDispose]();
});

/** A spec of another CA, which has nothing to do with the five. */
async function addOther(): Promise<void> {
  const [root, password] = [join(world.tls, "other-root.crt"), join(world.tls, "other-password")];
  await writeFile(root, other.root.pem);
  await writeFile(password, other.provisioner.password, { mode: 0o600 });
  const issuers = (world.config() as { issuers: Record<string, unknown> }).issuers;
  const provisioner = { type: "jwk", name: other.provisioner.name, password: { file: password } };
  const another = { type: "step-ca", url: other.url, root: { file: root }, provisioner };
  await world.home.configure({ issuers: { ...issuers, another }, default_issuer: "internal" });
  await world.home.write(
    "other",
    `issuer: another\nsubject: other.internal\noutputs: [{ format: combined, path: ${join(world.tls, "other.pem")} }]\n`,
  );
}

function begun(one: CertificateStatus | undefined): number {
  return Date.parse(one?.leaf?.not_before ?? "");
}

test("each is renewed over mTLS at its own place in its window, with no secret on the host", async () => {
  const { sign, renew } = issuancesOf(world.ca);
  expect({ sign, renew }).toEqual({ sign: FIVE.length, renew: 0 });
  const first = new Map((await agent.status()).certificates.map((one) => [one.name, one]));
  const planned = FIVE.map((name) => Date.parse(first.get(name)?.next?.at ?? ""));
  const isRenewed = (all: Certificates, name: string): boolean => (all.get(name)?.leaf?.generation ?? 0) > 1;

  const second = await agent.until("all five are renewed", (all) => {
    return FIVE.every((name) => isRenewed(all, name) && isCurrent(all.get(name)));
  });

  for (const [index, name] of FIVE.entries()) {
    const age = begun(second.get(name)) - begun(first.get(name));
    expect(age, `${name} was renewed in the window`).toBeGreaterThanOrEqual(LIFETIME / 2 - SECOND);
    expect(age, `${name} was renewed in time`).toBeLessThanOrEqual((LIFETIME * 3) / 4);
    expect(begun(second.get(name)), `${name} was renewed when it had said`).toBeGreaterThanOrEqual(
      (planned[index] ?? 0) - SECOND,
    );
  }
  expect(new Set(planned).size, "they do not all come at one time").toBeGreaterThan(1);
  await expect.poll(() => issuancesOf(world.ca)).toEqual({ sign: FIVE.length, renew: FIVE.length });
});

test("a CA that is away fails what is due, delays nobody else, and is enough when it comes back", async () => {
  await world.ca.stop();
  const renewedElsewhere = issuancesOf({ requests: () => other.requests.map(({ path }) => path) }).renew;

  const failing = await agent.until("two fail", (all) => {
    return FIVE.filter((name) => all.get(name)?.state === "failing").length >= 2;
  });
  const one = FIVE.map((name) => failing.get(name)).find((status) => status?.state === "failing");
  expect(one).toMatchObject({
    because: "the CA cannot be reached",
    failure: { code: "ISSUER_UNREACHABLE", hint: expect.stringContaining(world.ca.url), retry_at: expect.any(String) },
  });
  for (const { state } of one?.services ?? []) expect(state).toBe("proven");
  expect(isCurrent(failing.get("other"))).toBe(true);
  const elsewhere = issuancesOf({ requests: () => other.requests.map(({ path }) => path) });
  expect(elsewhere.sign).toBe(1);
  expect(elsewhere.renew).toBeGreaterThan(renewedElsewhere);

  await world.ca.start();
  await agent.until("all recover", areCurrent);
  const outcome = issuancesOf(world.ca);
  expect(outcome.sign).toBe(FIVE.length);
  expect(outcome.renew).toBeGreaterThanOrEqual(FIVE.length + 2);
});
