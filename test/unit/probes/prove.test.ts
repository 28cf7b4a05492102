import { expect, test } from "vitest";
import { MINUTE, SECOND } from "../../../src/base/time.ts";
import type { Probe, ProbeTarget } from "../../../src/core/ports.ts";
import { prove } from "../../../src/probes/index.ts";
import { proveBy } from "../../../src/probes/prove.ts";
import { freePort } from "../../servers/daemon.ts";
import { makePki } from "../../servers/pki.ts";
import { startTls } from "../../servers/tls.ts";

const signal = new AbortController().signal;
const pki = await makePki();
const old = await pki.issue({ names: ["old.internal"] });
const fresh = await pki.issue({ names: ["new.internal"] });

function at(port: number): ProbeTarget {
  return { address: { host: "127.0.0.1", port }, starttls: "tls", serverName: null, timeout: 10 * SECOND };
}

/** Answers of several workers, of which some are old; the last one goes on for ever. */
function workers(answers: string): { probe: Probe; looks: () => number } {
  let looks = 0;
  return {
    probe: async () => {
      looks += 1;
      return answers[Math.min(looks, answers.length) - 1] === "n" ? fresh.leaf : old.leaf;
    },
    looks: () => looks,
  };
}

test("prove() takes what is served on three fresh connections in a row", async () => {
  await using server = await startTls(fresh);

  expect(await prove(at(server.port), fresh.leaf.fingerprint, { timeout: 0 }, signal)).toEqual({ served: true });
  expect(server.asked.length).toBe(3);
});

test("prove() does not count what old workers answered before the new ones", async () => {
  const { probe, looks } = workers("oonnn");

  const proof = await proveBy(probe, at(1), fresh.leaf.fingerprint, { timeout: MINUTE }, signal);

  expect(proof).toEqual({ served: true });
  expect(looks()).toBe(5);
});

test("prove() takes no three in a row where old and new workers answer by turns", async () => {
  const { probe, looks } = workers(`onnonnnnnno${"n".repeat(20)}`);

  const proof = await proveBy(probe, at(1), fresh.leaf.fingerprint, { timeout: MINUTE }, signal);

  expect(proof).toEqual({ served: true });
  expect(looks()).toBe(31);
});

test("prove() says of who shows the right one by turns with another that two may run there", async () => {
  const [both, other] = [workers("on".repeat(60)), workers("o")];
  const proofBy = async (probe: Probe) =>
    await proveBy(probe, at(1), fresh.leaf.fingerprint, { timeout: SECOND }, signal);

  expect(await proofBy(both.probe)).toMatchObject({
    served: false,
    failure: { code: "SERVICE_STALE", hint: expect.stringContaining("by turns") },
  });
  expect(await proofBy(other.probe)).toMatchObject({ served: false, failure: { hint: undefined } });
});

test("prove() takes no three in a row of who has shown another leaf the last time", async () => {
  const { probe, looks } = workers("n");

  const proof = await proveBy(probe, at(1), fresh.leaf.fingerprint, { timeout: 0, inDoubt: true }, signal);

  expect(proof).toEqual({ served: true });
  expect(looks()).toBe(20);
});

test("prove() waits for a server that takes the new pair later", async () => {
  await using server = await startTls(old);

  const proving = prove(at(server.port), fresh.leaf.fingerprint, { timeout: MINUTE }, signal);
  while (server.asked.length < 2) await new Promise(setImmediate);
  server.serve(fresh);

  expect(await proving).toEqual({ served: true });
});

test("prove() says who answers otherwise", async () => {
  await using server = await startTls(old);

  const proof = await prove(at(server.port), fresh.leaf.fingerprint, { timeout: 200 }, signal);

  expect(proof).toMatchObject({ served: false, other: { fingerprint: old.leaf.fingerprint } });
  expect(proof).toMatchObject({
    failure: {
      code: "SERVICE_STALE",
      message:
        `Cannot see the certificate at 127.0.0.1:${server.port}: another one is served there: "old.internal", ` +
        `serial ${old.leaf.serial}, until ${new Date(old.leaf.notAfter).toISOString().replace(/\.\d+Z/, "Z")}`,
    },
  });
});

test("prove() says in one line who answers otherwise, whatever that one is called", async () => {
  const stranger = await pki.issue({ subject: "\u{1}".repeat(20_000), serial: "7f".repeat(20_000) });
  await using server = await startTls(stranger);

  const proof = await prove(at(server.port), fresh.leaf.fingerprint, { timeout: 0 }, signal);

  expect(proof.served ? 0 : proof.failure.message.length).toBeLessThan(500);
});

test("prove() says that nothing listens, and comes back at once when it is told to", async () => {
  const stop = new AbortController();
  const port = await freePort();

  const proving = prove(at(port), fresh.leaf.fingerprint, { timeout: 60 * MINUTE }, stop.signal);
  stop.abort();

  expect(await proving).toMatchObject({ served: false, failure: { code: "SERVICE_DOWN" }, other: undefined });
});
