/**
 * Whatever comes over the boundary, from either side: it is taken or refused, in less than a second, in certagent's own
 * words and without a word of a key; and nothing is taken but what the pinned CA issued for the spec.
 */
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { beforeAll, expect, test } from "vitest";
import { accept } from "../../../src/apply/accept.ts";
import { NO_RECORD } from "../../../src/apply/record.ts";
import { AgentError } from "../../../src/base/errors.ts";
import { MINUTE, systemClock } from "../../../src/base/time.ts";
import type { Generation, System } from "../../../src/core/ports.ts";
import { parseGeneration } from "../../../src/store/generations.ts";
import { adoptedFrom, adoption, application, observation, readReport } from "../../../src/store/reports.ts";
import { requestNamed } from "../../../src/store/requests.ts";
import { encodePem } from "../../../src/x509/pem.ts";
import { der, makeAuthority, makePki, type Pki } from "../../servers/pki.ts";
import { desiredIn, makeHost, NAME, never } from "../apply/harness.ts";
import { generationText } from "./hostile-agent.ts";

const desired = desiredIn("/srv/tls");
const numRuns = 1500;
let pki: Pki;
/** Texts of generations and of what they are made of, honest and not. */
let texts: readonly string[];
let parts: Readonly<Record<"key" | "chain" | "roots", readonly string[]>>;
/** Key by leaf: of what fits. */
let fitting: ReadonlyMap<string, string>;

beforeAll(async () => {
  pki = await makePki();
  const evil = await makePki("Evil");
  const honest = await Promise.all([pki.issue(), pki.issue(), pki.issue({ key: "ed25519" })]);
  const crossed = await makeAuthority({ name: "Test Root", key: pki.root.key, issuer: evil.root });
  const others = await Promise.all([
    evil.issue(),
    pki.issue({ names: ["mail.internal"] }),
    pki.issue({ usages: ["client"] }),
    pki.issue({ notAfter: systemClock.now() - MINUTE }),
    pki.issue({ isAuthority: true }),
  ]);
  fitting = new Map(honest.map(({ key, leaf }) => [leaf.fingerprint, key.keyId]));
  const all = [...honest, ...others];
  const rest = { request: desired.request, via: "token", issuedAt: 0 };
  texts = all.map((pair) => generationText({ ...pair, ...rest, roots: pki.roots }));
  const authorities = [pki.root, pki.intermediate, evil.root, evil.intermediate, crossed].map(
    ({ certificate }) => certificate.pem,
  );
  parts = {
    key: all.map(({ key }) => key.toPem()),
    chain: [...all.flatMap(({ chain }) => chain.map(({ pem }) => pem)), ...authorities],
    roots: [...authorities, ""],
  };
});

const host = () => ({
  system: { clock: systemClock } as System,
  anchorsOf: async () => pki.roots,
});

/** What the root side makes of a text. */
async function judged(text: string | Uint8Array): Promise<Generation | AgentError> {
  const begun = process.cpuUsage();
  try {
    const generation = parseGeneration(Buffer.from(text), "1.json", 1);
    return await accept(host(), desired, NO_RECORD, generation, {
      read: async () => await Promise.reject(new Error("no other is there")),
    });
  } catch (error) {
    if (error instanceof AgentError) return error;
    throw error;
  } finally {
    const { user, system } = process.cpuUsage(begun);
    expect((user + system) / 1000).toBeLessThan(1000);
  }
}

function expectFit(outcome: Generation | AgentError): void {
  if (outcome instanceof AgentError) {
    expect(outcome.code).toMatch(/^(CHAIN_UNUSABLE|KEY_UNUSABLE|STATE_UNUSABLE)$/);
    expect(`${outcome.message} ${outcome.hint}`).not.toMatch(/--BEGIN|\p{Cc}|\[object|undefined is/u);
    for (const key of parts.key) expect(outcome.message).not.toContain(key.split("\n")[1]);
  } else {
    expect(fitting.get(outcome.chain[0].fingerprint)).toBe(outcome.key.keyId);
    expect(outcome.roots).toBe(pki.roots);
    const known = [pki.intermediate.certificate.fingerprint];
    expect(outcome.chain.slice(1).map(({ fingerprint }) => fingerprint)).toEqual(known);
  }
}

test("the honest ones of the samples are taken, and no other", async () => {
  const outcomes = await Promise.all(texts.map(judged));

  expect(outcomes.map((outcome) => !(outcome instanceof AgentError))).toEqual([
    true,
    true,
    true,
    ...Array(5).fill(false),
  ]);
  outcomes.forEach(expectFit);
});

/** Bytes changed, dropped, doubled and moved, with no regard to what they mean. */
const damaged = fc
  .tuple(
    fc.nat(),
    fc.array(fc.tuple(fc.nat(), fc.nat(200), fc.constantFrom("flip", "cut", "double", "fill")), {
      minLength: 1,
      maxLength: 6,
    }),
  )
  .map(([sample, changes]) => (all: readonly string[]) => {
    let bytes = Buffer.from(all[sample % all.length] ?? "", "latin1");
    for (const [place, length, how] of changes) {
      const at = place % (bytes.length + 1);
      const [head, middle, tail] = [
        bytes.subarray(0, at),
        bytes.subarray(at, at + length),
        bytes.subarray(at + length),
      ];
      if (how === "flip" && bytes.length > 0)
        bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << (length % 8));
      if (how === "cut") bytes = Buffer.concat([head, tail]);
      if (how === "double") bytes = Buffer.concat([head, middle, middle, tail]);
      if (how === "fill") bytes = Buffer.concat([head, Buffer.alloc(middle.length, length), tail]);
    }
    return bytes;
  });

test("a damaged generation is refused, or is what the CA issued", async () => {
  await fc.assert(
    fc.asyncProperty(damaged, async (damage) => expectFit(await judged(damage(texts)))),
    { numRuns },
  );
});

/** A DER INTEGER of so many bytes; 0 is the number 0. */
const integer = (size: number, fill: number): Uint8Array =>
  der(0x02, size === 0 ? "\0" : Buffer.concat([Buffer.of(1), Buffer.alloc(size, fill | 1)]));
const wrapped = (algorithm: Uint8Array, key: Uint8Array): Uint8Array =>
  der(0x30, integer(0, 0), algorithm, der(0x04, key));
const oid = (hex: string): Uint8Array => der(0x06, Buffer.from(hex, "hex"));
const [RSA, RSA_PSS] = ["2a864886f70d010101", "2a864886f70d01010a"].map(oid) as [Uint8Array, Uint8Array];
const [EC, PRIME_FIELD, P256] = ["2a8648ce3d0201", "2a8648ce3d0101", "2a8648ce3d030107"].map(oid) as [
  Uint8Array,
  Uint8Array,
  Uint8Array,
];

/** A curve told by its numbers (SEC 1, C.2), its generator compressed or not. */
function curve(size: number, fill: number, lead: number): Uint8Array {
  const octets = (count: number): Uint8Array => der(0x04, Buffer.alloc(count * size, fill));
  const generator = der(0x04, Buffer.concat([Buffer.of(lead), Buffer.alloc(lead === 4 ? 2 * size : size, fill)]));
  const field = der(0x30, PRIME_FIELD, integer(size, fill));
  return der(
    0x30,
    Buffer.from("020101", "hex"),
    field,
    der(0x30, octets(1), octets(1)),
    generator,
    integer(size, fill),
  );
}

const nested = (depth: number): Uint8Array =>
  Array.from({ length: depth }).reduce((inner: Uint8Array) => der(0x30, inner), Buffer.alloc(0));

const size = fc.oneof(fc.nat(300), fc.nat(6000));
/** Keys for the honest RSA leaf of which the secret parts are any, for none, and of other kinds and any shape. */
const strangeKey = fc.oneof(
  fc
    .tuple(fc.array(fc.option(size), { minLength: 8, maxLength: 8 }), fc.nat(255), fc.constantFrom(RSA, RSA_PSS, null))
    .map(([sizes, fill, algorithm]) => (honest: readonly Uint8Array[]) => {
      const numbers = sizes.map((bytes, index) =>
        bytes === null ? (honest[index] ?? integer(0, 0)) : integer(bytes, fill),
      );
      const key = der(0x30, integer(0, 0), ...numbers);
      return algorithm === null
        ? encodePem("RSA PRIVATE KEY", key)
        : encodePem("PRIVATE KEY", wrapped(der(0x30, algorithm, Buffer.from("0500", "hex")), key));
    }),
  fc.tuple(size, size, fc.nat(255), fc.constantFrom(2, 3, 4, null)).map(([bytes, secret, fill, lead]) => () => {
    const parameters = lead === null ? P256 : curve(bytes, fill, lead);
    const key = der(0x30, Buffer.from("020101", "hex"), der(0x04, Buffer.alloc(secret, fill)));
    return encodePem("PRIVATE KEY", wrapped(der(0x30, EC, parameters), key));
  }),
  fc.tuple(fc.nat(4000), fc.constantFrom(RSA, RSA_PSS, EC)).map(
    ([depth, algorithm]) =>
      () =>
        encodePem("PRIVATE KEY", wrapped(der(0x30, algorithm, nested(depth)), nested(depth))),
  ),
);

test("a key of numbers that are as long as they like costs no time, and is refused or is the honest one", async () => {
  const honest = await pki.issue({ key: "rsa-2048" });
  const { n, e, d, p, q, dp, dq, qi } = honest.key.keyObject.export({ format: "jwk" });
  const numbers = [n, e, d, p, q, dp, dq, qi].map((text) =>
    der(0x02, `\0${Buffer.from(text ?? "", "base64url").toString("latin1")}`),
  );
  const rest = { ...honest, request: desired.request, via: "token", issuedAt: 0, roots: pki.roots };
  const record = JSON.parse(generationText(rest)) as object;

  await fc.assert(
    fc.asyncProperty(strangeKey, async (make) => {
      const outcome = await judged(JSON.stringify({ ...record, key: make(numbers) }));

      if (outcome instanceof AgentError) expectFit(outcome);
      else expect(outcome.key.keyId).toBe(honest.key.keyId);
    }),
    { numRuns: 500 },
  );
});

/** Whole parts of several generations, put together anew. */
const composed = fc.record({
  key: fc.nat(),
  chain: fc.array(fc.nat(), { maxLength: 10 }),
  roots: fc.array(fc.nat(), { maxLength: 10 }),
  request: fc.oneof(fc.constant(desired.request), fc.jsonValue()),
  issuedAt: fc.oneof(fc.double({ noNaN: true }), fc.constant(null)),
  via: fc.string(),
  schema: fc.constantFrom(1, 1, 1, 1, 2),
});

test("a generation that is put together from parts of others is refused, or is what the CA issued", async () => {
  await fc.assert(
    fc.asyncProperty(composed, async ({ key, chain, roots, ...rest }) => {
      const pick = (from: readonly string[]) => (at: number) => from[at % from.length] ?? "";
      const text = JSON.stringify({
        ...rest,
        key: pick(parts.key)(key),
        chain: chain.map(pick(parts.chain)).join(""),
        roots: roots.map(pick(parts.roots)).join(""),
      });

      expectFit(await judged(text));
    }),
    { numRuns },
  );
});

test("certificates that are damaged below their PEM are refused, or are what the CA issued", async () => {
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.nat(), fc.integer({ min: 1, max: 255 }), async (which, place, change) => {
      const record = JSON.parse(texts[which % 3] ?? "") as { chain: string };
      record.chain = record.chain.replace(/(-----BEGIN CERTIFICATE-----\n)([^-]*)/, (_, head: string, body: string) => {
        const der = Buffer.from(body, "base64");
        der[place % der.length] = (der[place % der.length] ?? 0) ^ change;
        return `${head}${der.toString("base64").replace(/.{1,64}/g, "$&\n")}`;
      });

      const outcome = await judged(JSON.stringify(record));

      expect(outcome).toBeInstanceOf(AgentError);
      expectFit(outcome);
    }),
    { numRuns },
  );
});

test("the name of a file is a request of the grammar, or none", () => {
  const name = fc.oneof(
    fc.string({ unit: "binary" }),
    fc
      .tuple(
        fc.constantFrom("observe", "adopt@", "apply@", "failed@", "forget@", "root@"),
        fc.string({ unit: "binary" }),
      )
      .map((both) => both.join("")),
  );
  fc.assert(
    fc.property(name, (text) => {
      const request = requestNamed(text);
      if (request === undefined || request.kind === "observe") return;
      const about = request.kind === "forget" ? request.issuer : request.spec;
      expect(about).toMatch(/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/);
      expect(text).toBe(`${request.kind}@${about}`);
    }),
    { numRuns: 20_000 },
  );
});

test("a report is one of a root side, or is refused, whatever it holds", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-reports-"));
  const path = join(folder.path, "report.json");
  const answer = (result: unknown): string => JSON.stringify({ schema: 1, token: "00", at: 1, result });
  const report = { deployed: 1, files: "written", services: [], failure: null, actions: ["x"], repaired: [] };
  const facts = { deployed: 1, outputs: [], services: [], adoptable: false, obstacle: null };
  const pair = { key: parts.key[0], chain: parts.chain.slice(0, 2).join("") };
  const samples = [
    answer({ report, observed: { name: NAME, digest: "1", generation: 1, facts } }),
    answer({ specs: [{ name: NAME, digest: "1", generation: null, facts }], isWhole: true }),
    answer(pair),
    answer(null),
  ];
  await fc.assert(
    fc.asyncProperty(damaged, fc.constantFrom(application, observation, adoption), async (damage, schema) => {
      await writeFile(path, damage(samples));
      try {
        const read = await readReport<unknown>(path, schema);
        if (schema === adoption && read !== undefined && "result" in read) {
          const adopted = adoptedFrom(adoption.parse(read.result));
          if (adopted !== undefined) expect(adopted.chain[0].keyId).toBe(adopted.key.keyId);
        }
      } catch (error) {
        expect(error).toMatchObject({
          code: expect.stringMatching(/^(APPLY_UNREACHABLE|KEY_UNUSABLE|CHAIN_UNUSABLE)$/),
        });
        expect((error as Error).message).not.toMatch(/--BEGIN/);
      }
    }),
    { numRuns },
  );
});

test("a pair is handed over only where it is one that fits, whatever stands at the outputs", async () => {
  await using at = await makeHost({}, { fast: true });
  at.anchors = async () => pki.roots;
  const applier = await at.open();
  await fc.assert(
    fc.asyncProperty(fc.nat(), fc.array(fc.nat(), { maxLength: 4 }), fc.option(damaged), async (key, chain, damage) => {
      const chosen = chain.map((index) => parts.chain[index % parts.chain.length]).join("");
      await writeFile(at.path("web.key"), damage?.(parts.key) ?? parts.key[key % parts.key.length] ?? "");
      await writeFile(at.path("web.crt"), chosen);

      const adopted = await applier.adopt(NAME, never).catch((error: unknown) => {
        expect(error).toMatchObject({ code: "DEPLOY_FAILED" });
        return undefined;
      });

      if (adopted !== undefined) expect(fitting.get(adopted.chain[0].fingerprint)).toBe(adopted.key.keyId);
      for (const text of parts.key) expect(at.log.join("\n")).not.toContain(text.split("\n")[1]);
      at.log.length = 0;
    }),
    { numRuns: 500 },
  );
});
