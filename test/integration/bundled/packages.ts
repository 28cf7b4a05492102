// A program with every package that certagent bundles: the light ones at start, the heavy ones when they are needed.
import { pino } from "pino";
import { z } from "zod";
import manifest from "../../../package.json" with { type: "json" };

const atStart = {
  manifest,
  light: [typeof pino, z.string().parse("text")],
  hasReflectMetadata: "getMetadata" in Reflect,
};

await import("reflect-metadata");
const { Pkcs10CertificateRequestGenerator } = await import("@peculiar/x509");
const { SignJWT } = await import("jose");
const { default: Client } = await import("undici/lib/dispatcher/client.js");

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
const csr = await Pkcs10CertificateRequestGenerator.create({ name: "CN=a", keys, signingAlgorithm: algorithm });
const token = await new SignJWT({ a: 1 }).setProtectedHeader({ alg: "ES256" }).sign(keys.privateKey);
await new Client("http://127.0.0.1").close();
const { parseDocument } = await import("yaml");
const yaml: unknown = parseDocument("text").toJS();
const { watch } = await import("chokidar");
await watch([]).close();

process.stdout.write(JSON.stringify({ ...atStart, csr: csr.toString("pem"), token, yaml }));
