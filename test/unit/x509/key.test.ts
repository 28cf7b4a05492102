import { createPublicKey, generateKeyPairSync, X509Certificate } from "node:crypto";
import { format, inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { AgentError } from "../../../src/base/errors.ts";
import {
  describeKey,
  generateKey,
  KEY_ALGORITHMS,
  keyIdOf,
  matches,
  type PrivateKey,
  parseKey,
} from "../../../src/x509/key.ts";
import { encodePem } from "../../../src/x509/pem.ts";
import { opensslText } from "../../servers/openssl.ts";
import { der, makePki } from "../../servers/pki.ts";

test.each(KEY_ALGORITHMS)(
  "generateKey() makes %s keys that openssl takes and parseKey() reads back",
  async (algorithm) => {
    const key = await generateKey(algorithm);

    expect(key.algorithm).toBe(algorithm);
    expect(key.toPem()).toMatch(/^-----BEGIN PRIVATE KEY-----\n[^]+\n-----END PRIVATE KEY-----\n$/);
    const publicPem = opensslText(["pkey", "-pubout"], key.toPem());
    expect(keyIdOf(createPublicKey(publicPem))).toBe(key.keyId);
    expect(parseKey(key.toPem())).toMatchObject({ algorithm, keyId: key.keyId });
  },
);

describe("a private key shows itself as [private key]", async () => {
  const key = await generateKey("ec-p256");
  const secret = key.toPem().split("\n")[1] ?? "";
  const thrown = (): unknown => {
    try {
      (key as unknown as () => void)();
      return "";
    } catch (error) {
      return error;
    }
  };

  test.each<[string, (key: PrivateKey) => string]>([
    ["String()", String],
    ["a template", (each) => `${each}`],
    ["JSON.stringify()", (each) => JSON.stringify({ each })],
    ["inspect()", (each) => inspect(each)],
    ["inspect() with everything", (each) => inspect({ each }, { showHidden: true, depth: null, getters: true })],
    ["format()", (each) => format("%s %o %j", each, { each }, { each })],
    ["an error's message", (each) => new AgentError("BUG", `Cannot use ${each}`).message],
  ])("by %s", (_, show) => {
    expect(show(key)).toContain("[private key]");
    expect(show(key)).not.toContain(secret.slice(0, 20));
  });

  test("and in no error about it", () => {
    expect(inspect(thrown())).not.toContain(secret.slice(0, 20));
    expect(inspect({ ...key })).not.toContain(secret.slice(0, 20));
  });
});

/** A PKCS#8 key of DSA with numbers of so many bytes: its public half takes time by the third power of that. */
function slowKey(size: number): Uint8Array {
  const number = der(0x02, Buffer.alloc(size, 0x5b));
  const dsa = der(0x30, Buffer.from("06072a8648ce380401", "hex"), der(0x30, number, number, number));
  return der(0x30, Buffer.from("020100", "hex"), dsa, der(0x04, number));
}

test("a key that somebody has is read once, whatever stands around it in a text", async () => {
  const [pem, other] = [(await generateKey("ec-p256")).toPem(), (await generateKey("ec-p256")).toPem()];

  const key = parseKey(pem);

  expect(parseKey(`Explanation\n${pem}`)).toBe(key);
  expect(parseKey(other).toPem()).toBe(other);
  expect(key.toPem()).toBe(pem);
});

describe("parseKey()", async () => {
  const ec = (await generateKey("ec-p256")).toPem();
  const rsa = (await generateKey("rsa-2048")).toPem();
  const { intermediate } = await makePki();
  const x25519 = generateKeyPairSync("x25519").privateKey.export({ type: "pkcs8", format: "pem" });

  test.each([
    ["SEC1", opensslText(["ec"], ec), parseKey(ec).keyId],
    ["SEC1 behind its parameters", opensslText(["ecparam", "-name", "secp384r1", "-genkey"]), undefined],
    ["PKCS#1", opensslText(["rsa", "-traditional"], rsa), parseKey(rsa).keyId],
    ["a combined file", `${rsa}${intermediate.certificate.pem}`, parseKey(rsa).keyId],
    ["a file with text", `Bag Attributes\n    friendlyName: x\n${ec}`, parseKey(ec).keyId],
    ["CRLF", ec.replaceAll("\n", "\r\n"), parseKey(ec).keyId],
  ])("reads %s", (_, pem, keyId) => {
    expect(parseKey(pem).keyId).toEqual(keyId ?? expect.any(String));
    expect(parseKey(Buffer.from(pem)).algorithm).toMatch(/^(ec|rsa)-/);
  });

  test("calls a key that specs cannot ask for other", () => {
    expect(
      parseKey(opensslText(["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"])).algorithm,
    ).toBe("other");
  });

  const encrypted = "the private key: it is encrypted";
  const damaged = "the private key: its bytes are damaged, or of a kind that cannot sign";
  test.each([
    ["PKCS#8 with a passphrase", opensslText(["pkcs8", "-topk8", "-passout", "pass:secret"], ec), encrypted],
    ["SEC1 with a passphrase", opensslText(["ec", "-aes128", "-passout", "pass:secret"], ec), encrypted],
    ["a text without a key", intermediate.certificate.pem, "the private key: there is none in the file"],
    ["an empty text", "", "the private key: there is none in the file"],
    ["two keys", ec + rsa, "the private key: there are 2 of them in one file"],
    ["a key that cannot sign", x25519, damaged],
    ["damaged bytes", ec.replace(/\n.{10}/, "\nAAAAAAAAAA"), damaged],
    ["a public key in its clothes", opensslText(["pkey", "-pubout"], ec).replaceAll("PUBLIC", "PRIVATE"), damaged],
  ])("refuses %s", (_, pem, fact) => {
    expect(() => parseKey(pem)).toThrow(
      expect.objectContaining({ code: "KEY_UNUSABLE", message: `Cannot use ${fact}` }),
    );
  });

  test.each(["PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY"])(
    "refuses a %s whose public half OpenSSL would compute for seconds, in no time",
    (label) => {
      const before = process.cpuUsage();

      expect(() => parseKey(encodePem(label, slowKey(4096)))).toThrow(damaged);

      expect(process.cpuUsage(before).user).toBeLessThan(1_000_000); // microseconds; 7 s where it is computed
    },
  );

  test("refuses an RSA key that takes seconds to sign with", () => {
    const numbers = [1024, 3, 1024, 512, 512, 512, 512, 512].map((size) => der(0x02, Buffer.alloc(size + 1, 0x5b)));
    const pem = encodePem("RSA PRIVATE KEY", der(0x30, Buffer.from("020100", "hex"), ...numbers));

    expect(() => parseKey(pem)).toThrow("the private key: 8199 bits are more than 8192");
  });

  test("a key with a longer secret than its curve's is KEY_UNUSABLE where it would be written", () => {
    const curve = der(0x30, Buffer.from("06072a8648ce3d020106082a8648ce3d030107", "hex"));
    const secret = der(0x30, Buffer.from("020101", "hex"), der(0x04, Buffer.alloc(33, 0x5b)));
    const pem = encodePem("PRIVATE KEY", der(0x30, Buffer.from("020100", "hex"), curve, der(0x04, secret)));

    expect(() => parseKey(pem).toPem()).toThrow(expect.objectContaining({ code: "KEY_UNUSABLE" }));
  });

  test("throws nothing but KEY_UNUSABLE, and quotes nothing, for a key with any byte changed", () => {
    const body = ec.split("\n").slice(1, -2).join("");
    fc.assert(
      fc.property(fc.nat(body.length - 1), fc.constantFrom("A", "/", "=", "!", "\n"), (at, letter) => {
        const damagedPem = ec
          .replaceAll("\n", "")
          .replace(body, `\n${body.slice(0, at)}${letter}${body.slice(at + 1)}\n`);
        try {
          parseKey(damagedPem);
        } catch (error) {
          expect(error).toMatchObject({ code: "KEY_UNUSABLE" });
          expect(inspect(error)).not.toContain(body.slice(20, 40));
        }
      }),
    );
  });
});

test("matches() tells whose certificate it is", async () => {
  const pki = await makePki();
  const { key, leaf } = await pki.issue({ key: "rsa-2048" });

  expect(matches(key, leaf)).toBe(true);
  expect(matches(pki.root.key, leaf)).toBe(false);
  expect(new X509Certificate(leaf.der).checkPrivateKey(key.keyObject)).toBe(true);
});

test.each([
  ["EC:P-192", "ec_paramgen_curve", "EC prime192v1", true],
  ["EC:P-224", "ec_paramgen_curve", "EC secp224r1", true],
  ["EC:P-521", "ec_paramgen_curve", "EC secp521r1", false],
  ["RSA:1024", "rsa_keygen_bits", "RSA 1024", true],
  ["RSA:2560", "rsa_keygen_bits", "RSA 2560", false],
])("describeKey() calls %s by its name and judges its strength", (kind, option, label, weak) => {
  const [algorithm = "", size = ""] = kind.split(":");
  const pem = opensslText(["genpkey", "-algorithm", algorithm, "-pkeyopt", `${option}:${size}`]);

  expect(describeKey(parseKey(pem).keyObject)).toEqual({ algorithm: "other", label, weak });
});
