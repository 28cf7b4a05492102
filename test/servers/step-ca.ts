import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DAY, MINUTE, type Milliseconds, SECOND, systemClock } from "../../src/base/time.ts";
import { type Claims, makeProvisioner, type Provisioner } from "../../src/devca/provisioner.ts";
import type { Certificate } from "../../src/x509/certificate.ts";
import { type Daemon, freePort, startDaemon } from "./daemon.ts";
import { type Authority, makePki, type Pki } from "./pki.ts";
import { toolPath } from "./tools.ts";

/** What the CA is configured to allow. */
export interface StepCaPolicy {
  readonly lifetime: Milliseconds;
  readonly shortest: Milliseconds;
  readonly longest: Milliseconds;
  readonly backdate: Milliseconds;
  readonly disableRenewal: boolean;
  readonly allowRenewalAfterExpiry: boolean;
  /** Goes into the provisioner's `options.x509.template`; absent is step-ca's own. */
  readonly template?: string | undefined;
  /** Goes beside it into `options.x509.templateData`, and is shown to everybody in `/provisioners`. */
  readonly templateData?: unknown;
  /** DNS names that `authority.policy` forbids. */
  readonly deniedNames?: readonly string[] | undefined;
  /** Whether the provisioner is (still) there. */
  readonly provisioned: boolean;
  /** What it calls itself: goes into its own certificate, and the audience of each token must be one of them. */
  readonly dnsNames?: readonly string[] | undefined;
}

export interface StepCaOptions {
  readonly policy?: Partial<StepCaPolicy>;
  readonly pki?: Pki;
}

/** A real step-ca with bbolt, on a port and with a PKI of its own. */
export interface StepCa extends AsyncDisposable {
  readonly url: string;
  readonly folder: string;
  readonly pki: Pki;
  readonly root: Certificate;
  readonly rootFile: string;
  readonly provisioner: Provisioner;
  /** A one-time token; `claims` replace the usual ones. */
  token(subject: string, names?: readonly string[], claims?: Claims): Promise<string>;
  /** Stops it, changes its configuration, and starts it again. Tokens of before are void. */
  change(policy: Partial<StepCaPolicy>, intermediate?: Authority): Promise<void>;
  stop(): Promise<void>;
  /** On the same port. */
  start(): Promise<void>;
  /** Why it refused, which clients are not told: the `error` of each line of its log, oldest first. */
  refusals(): readonly string[];
  /** Paths that were asked for, without queries, oldest first. */
  requests(): readonly string[];
  /** How long it worked on each request for a path, as its log says, oldest first. */
  durations(path: string): readonly Milliseconds[];
  readonly pid: number;
}

const POLICY: StepCaPolicy = {
  lifetime: DAY,
  shortest: SECOND,
  longest: DAY,
  backdate: MINUTE,
  disableRenewal: false,
  allowRenewalAfterExpiry: false,
  provisioned: true,
};

/** As `step` encrypts keys. */
const ROUNDS = 600_000;

export async function startStepCa(options: StepCaOptions = {}): Promise<StepCa> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-step-ca-"));
  const at = (name: string): string => join(folder.path, name);
  const pki = options.pki ?? (await makePki("Real"));
  const provisioner = await makeProvisioner("vm-hosts", "correct horse battery staple", ROUNDS);
  const port = await freePort();
  const url = `https://127.0.0.1:${port}`;
  let policy: StepCaPolicy = { ...POLICY, ...options.policy };
  let intermediate = pki.intermediate;
  let daemon: Daemon | undefined;
  let log = "";

  const start = async (): Promise<void> => {
    await writeFile(at("intermediate.crt"), intermediate.certificate.pem);
    await writeFile(at("intermediate.key"), intermediate.key.toPem(), { mode: 0o600 });
    await writeFile(at("ca.json"), JSON.stringify(configuration(folder.path, port, provisioner, policy)));
    daemon = await startDaemon([toolPath("step-ca"), at("ca.json")], () => isHealthy(url));
  };
  const stop = async (): Promise<void> => {
    await daemon?.stop();
    log += daemon?.log() ?? "";
    daemon = undefined;
  };
  const lines = (): readonly Record<string, unknown>[] =>
    `${log}${daemon?.log() ?? ""}`
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);

  await writeFile(at("root.crt"), pki.root.certificate.pem);
  await start();
  return {
    url,
    folder: folder.path,
    pki,
    root: pki.root.certificate,
    rootFile: at("root.crt"),
    provisioner,
    token: (subject, names = [subject], claims = {}) =>
      provisioner.token(url, subject, names, systemClock.now(), claims),
    change: async (changed, replaced) => {
      policy = { ...policy, ...changed };
      intermediate = replaced ?? intermediate;
      await stop();
      await start();
    },
    stop,
    start,
    refusals: () => lines().flatMap(({ error }) => (typeof error === "string" ? [error] : [])),
    requests: () => {
      const paths = lines().flatMap(({ path }) => (typeof path === "string" ? (path.split("?")[0] ?? "") : []));
      return paths.filter((path) => path !== "/health");
    },
    durations: (path) =>
      lines().flatMap((line) => (line["path"] === path ? Number(line["duration-ns"]) / 1_000_000 : [])),
    get pid() {
      return daemon?.pid ?? 0;
    },
    [Symbol.asyncDispose]: async () => {
      await stop();
      await folder.remove();
    },
  };
}

function configuration(folder: string, port: number, provisioner: Provisioner, policy: StepCaPolicy): unknown {
  const { name, publicJwk, encryptedKey } = provisioner;
  const { lifetime, shortest, longest, backdate, disableRenewal, allowRenewalAfterExpiry, deniedNames } = policy;
  const { template, templateData, dnsNames = ["localhost", "127.0.0.1"] } = policy;
  const options = { options: { x509: { template, templateData } } };
  const claims = { disableRenewal, allowRenewalAfterExpiry };
  const jwk = { type: "JWK", name, key: publicJwk, encryptedKey, claims, ...options };
  const acme = { type: "ACME", name: "acme" };
  return {
    root: join(folder, "root.crt"),
    crt: join(folder, "intermediate.crt"),
    key: join(folder, "intermediate.key"),
    address: `127.0.0.1:${port}`,
    dnsNames,
    logger: { format: "json" },
    db: { type: "bbolt", dataSource: join(folder, "db.bolt") },
    authority: {
      backdate: `${backdate}ms`,
      claims: {
        minTLSCertDuration: `${shortest}ms`,
        maxTLSCertDuration: `${longest}ms`,
        defaultTLSCertDuration: `${lifetime}ms`,
      },
      ...(deniedNames === undefined
        ? {}
        : { policy: { x509: { deny: { dns: deniedNames }, allow: { dns: ["*.internal", "*.test"] } } } }),
      provisioners: policy.provisioned ? [acme, jwk] : [acme],
    },
  };
}

/** Whether it answers; whom we talk to is no question here. */
function isHealthy(url: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  const request = get(`${url}/health`, { rejectUnauthorized: false, agent: false }, (response) => {
    response.resume();
    resolve(response.statusCode === 200);
  });
  request.once("error", () => resolve(false));
  return promise;
}
