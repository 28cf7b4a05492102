import { beforeAll, expect, test } from "vitest";
import { logDeployed, logFailure, logIssued, logSetback, logVerdict } from "../../../src/agent/journal.ts";
import { AgentError, asAgentError } from "../../../src/base/errors.ts";
import type { Fields, Log } from "../../../src/base/log.ts";
import { formatInstant, MINUTE } from "../../../src/base/time.ts";
import type { ApplyReport } from "../../../src/core/applier.ts";
import type { Generation } from "../../../src/core/ports.ts";
import { makeAuthority, makePki } from "../../servers/pki.ts";
import { NOW, proof, request, streak } from "../core/given.ts";

interface Line {
  readonly level: keyof Log;
  readonly message: string;
  readonly fields: Fields;
}

function journal(): Log & { readonly lines: readonly Line[] } {
  const lines: Line[] = [];
  const at =
    (level: keyof Log) =>
    (message: string, fields: Fields = {}): void => {
      lines.push({ level, message, fields });
    };
  return { lines, debug: at("debug"), info: at("info"), warning: at("warning"), error: at("error") };
}

let generation: Generation;
beforeAll(async () => {
  const pki = await makePki();
  const { key, chain } = await pki.issue({ serial: "2c9f", notBefore: NOW, notAfter: NOW + 3_600_000 });
  generation = { number: 3, request, key, chain, roots: pki.roots, issuedAt: NOW, via: "mtls" };
});

test("an issuance is one line that says why, how, and until when", () => {
  const log = journal();

  logIssued(log, "web", generation, "its place in the renewal window has come");

  expect(log.lines).toEqual([
    {
      level: "info",
      message: "issued",
      fields: {
        certificate: "web",
        because: "its place in the renewal window has come",
        via: "mtls",
        generation: 3,
        serial: "2c9f",
        not_after: "2026-11-20T11:00:00Z",
      },
    },
  ]);
});

test.each([
  [60 * MINUTE, []],
  [66 * MINUTE, []],
  [72 * MINUTE, [{ asked: "1 h 12 min", given: "1 h" }]],
])("of a certificate of an hour where %d ms were asked for it is told how short it is", (lifetime, told) => {
  const log = journal();

  logIssued(log, "web", { ...generation, request: { ...request, lifetime } }, "nothing was issued yet");

  const warnings = log.lines.filter(({ level }) => level === "warning");
  expect(warnings).toMatchObject(told.map((fields) => ({ fields })));
});

test.each([
  [0, []],
  [-MINUTE, [{ certificate: "web", issuer: "Short", ends: formatInstant(NOW + 59 * MINUTE) }]],
])("of an intermediate that ends %d ms after what it has issued it is told when that is", async (later, told) => {
  const log = journal();
  const pki = await makePki();
  const notAfter = NOW + 60 * MINUTE;
  const issuer = await makeAuthority({ name: "Short", issuer: pki.root, notBefore: NOW, notAfter: notAfter + later });
  const { key, chain } = await pki.issue({ issuer, notBefore: NOW, notAfter });

  logIssued(log, "web", { ...generation, key, chain }, "its place in the renewal window has come");

  expect(log.lines.filter(({ level }) => level === "warning")).toMatchObject(told.map((fields) => ({ fields })));
});

test("no line holds a key, a certificate or what was sent to the CA", () => {
  const log = journal();
  const report: ApplyReport = {
    deployed: 3,
    files: "written",
    services: [{ type: "nginx", outcome: "reloaded", failure: null, note: null }],
    failure: null,
    actions: [],
    repaired: [],
  };

  logIssued(log, "web", generation, "nothing was issued yet");
  logDeployed(log, "web", report);
  logVerdict(log, "web", { proof: proof(), failure: undefined }, false);
  logFailure(log, "web", "issue", asAgentError(new Error("boom")), streak());

  const text = JSON.stringify(log.lines);
  expect(text).not.toContain("-----BEGIN");
  const secret = generation.key.toPem().split("\n")[1] ?? "";
  expect(secret.length).toBeGreaterThan(40);
  expect(text).not.toContain(secret.slice(0, 20));
  expect(text).not.toContain("[private key]");
});

test("a failure that is tried again is a warning that says when, and what to do", () => {
  const log = journal();
  const error = new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: refused", { hint: "is it running?" });

  logFailure(log, "web", "issue", error, streak({ attempts: 3, tryAt: NOW + 60_000 }));

  expect(log.lines).toEqual([
    {
      level: "warning",
      message: "cannot get a certificate",
      fields: {
        certificate: "web",
        code: "ISSUER_UNREACHABLE",
        reason: "Cannot reach the CA: refused",
        hint: "is it running?",
        attempt: 3,
        try_again: "2026-11-20T10:01:00Z",
      },
    },
  ]);
});

test("a failure that an operator has to look at is an error", () => {
  const log = journal();

  logFailure(log, "web", "issue", new AgentError("ISSUER_REJECTED", "Cannot get a certificate: not allowed"), null);

  expect(log.lines[0]?.level).toBe("error");
});

test("a rung that failed before another one succeeded is no error, and says what to do", () => {
  const log = journal();

  logSetback(log, "web", {
    code: "ISSUER_REJECTED",
    message: "Cannot renew over mTLS: refused",
    hint: "ask",
    retryAt: null,
  });

  expect(log.lines).toEqual([
    {
      level: "warning",
      message: "something failed on the way to a certificate",
      fields: { certificate: "web", code: "ISSUER_REJECTED", reason: "Cannot renew over mTLS: refused", hint: "ask" },
    },
  ]);
});

test("where there is nothing to do, no hint is told", () => {
  const log = journal();

  logSetback(log, "web", { code: "ISSUER_REJECTED", message: "Cannot renew: it expired", hint: null, retryAt: null });

  expect(log.lines[0]?.fields["hint"]).toBeUndefined();
});

test("a defect tells where it happened, for us", () => {
  const log = journal();

  logFailure(log, "web", "apply", asAgentError(new TypeError("x is not a function")), streak());

  expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
    ["error", "cannot deploy"],
    ["debug", "stack of the failure"],
  ]);
  expect(log.lines[1]?.fields["stack"]).toContain("journal.test.ts");
});

test("a deployment tells what each service did, and a note of one is a line of its own", () => {
  const log = journal();
  const services = [{ type: "redis", outcome: "reloaded", failure: null, note: "not kept over a restart" }] as const;

  logDeployed(log, "web", { deployed: 3, files: "written", services, failure: null, actions: [], repaired: [] });

  expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
    ["info", "deployed"],
    ["warning", "a service asks for attention"],
  ]);
  expect(log.lines[0]?.fields["services"]).toEqual(["redis: reloaded"]);
});

test("a deployment that failed is not told as one: its failure has its own line", () => {
  const log = journal();
  const failure = { code: "DEPLOY_FAILED", message: "Cannot write", hint: null, retryAt: null } as const;

  logDeployed(log, "web", { deployed: 2, files: "rolled-back", services: [], failure, actions: [], repaired: [] });

  expect(log.lines).toEqual([]);
});

test("what is proven for the first time is news, what still is, is not, and what is not has its failure", () => {
  const log = journal();

  logVerdict(log, "web", { proof: proof(), failure: undefined }, false);
  logVerdict(log, "web", { proof: proof(), failure: undefined }, true);
  logVerdict(log, "web", { proof: proof({ proven: false }), failure: new AgentError("SERVICE_DOWN", "down") }, true);

  expect(log.lines.map(({ level, message }) => [level, message])).toEqual([
    ["info", "proven"],
    ["debug", "still proven"],
  ]);
});

test("of a service without a probe no address is told, and no certificate that was seen there", () => {
  const log = journal();

  logVerdict(log, "web", { proof: proof({ address: null, fingerprint: null }), failure: undefined }, false);

  const [line] = log.lines;
  expect([line?.message, line?.fields["address"], line?.fields["fingerprint"]]).toEqual([
    "proven",
    undefined,
    undefined,
  ]);
});
