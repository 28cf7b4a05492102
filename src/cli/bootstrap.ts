import { realpath } from "node:fs/promises";
import { dirname } from "node:path";
import type * as z from "zod";
import { writeAtomically } from "../base/atomic-file.ts";
import { AgentError } from "../base/errors.ts";
import { fileError, isMissing } from "../base/file-error.ts";
import { makeFolder } from "../base/folder.ts";
import { readBounded } from "../base/read-file.ts";
import { shellWord } from "../base/shell-word.ts";
import { formatInstant, SECOND } from "../base/time.ts";
import type { Certificate } from "../x509/certificate.ts";
import { misused } from "./arguments.ts";
import { absolute, type Command, type ExitCode, type Invocation, type World } from "./command.ts";
import { VERSION } from "./version.ts";

export const bootstrap: Command = {
  name: "bootstrap",
  summary: "fetches the CA's root, believes it by its fingerprint alone, and keeps it",
  operands: "",
  options: [
    { name: "ca-url", value: "URL", description: "where the CA listens: https://HOST:PORT" },
    {
      name: "fingerprint",
      value: "SHA256",
      description: "of the root, with or without colons: step certificate fingerprint root_ca.crt",
    },
    { name: "root", value: "FILE", default: "/etc/certagent/root_ca.crt", description: "where the root is kept" },
    { name: "install", description: "put it into the system's trust store as well, for other programs" },
  ],
  description: `Fetches the root over a connection that is not trusted, and keeps it only where it has the fingerprint: that is
the one thing that has to come to this host over a way that is trusted. A second run changes nothing, and asks
nobody. A file with another root is left as it is.
certagent itself needs the file alone, and never the system's trust store.`,
  examples: [
    ["certagent bootstrap --ca-url https://ca.internal:9000 --fingerprint b8d4…", "at first boot, as root"],
    ["certagent bootstrap --ca-url … --fingerprint … --install", "for curl and others on this host too"],
    ["certagent bootstrap --ca-url … --fingerprint … --root ./root.crt", "elsewhere, without root"],
  ],
  exitCodes: [
    [0, "the root is there"],
    [1, "failed: the CA cannot be reached, has no such root, or there is another file in its place"],
    [2, "used wrongly"],
  ],
  run: async (invocation, world) => {
    const [origin, fingerprint] = await parse(invocation);
    const file = absolute(invocation.value("root"));
    const root = (await keptRoot(file, fingerprint)) ?? (await pin(file, origin, fingerprint, world));
    if (invocation.isSet("install")) {
      const { installRoot } = await import("./trust-store.ts");
      world.print.line(`in the system's trust store: ${await installRoot(root, world.run)}`);
    }
    return explain(world, root, origin, file);
  },
};

async function parse(invocation: Invocation): Promise<readonly [origin: string, fingerprint: string]> {
  if (!invocation.isSet("ca-url") || !invocation.isSet("fingerprint")) {
    throw misused(
      "bootstrap needs --ca-url and --fingerprint",
      "certagent bootstrap --ca-url https://ca.internal:9000 --fingerprint b8d4…",
    );
  }
  const schemas = await import("../issuers/step-ca/config.ts");
  const judged = (name: string, schema: z.ZodType<string>): string => {
    const { success, data, error } = schema.safeParse(invocation.value(name));
    if (success) return data;
    throw misused(`"--${name}": ${error.issues[0]?.message}`, "certagent bootstrap --help");
  };
  return [judged("ca-url", schemas.origin), judged("fingerprint", schemas.fingerprint)];
}

/** The root where the file holds it already, and nothing else; undefined where there is no file. Throws for another one. */
async function keptRoot(file: string, fingerprint: string): Promise<Certificate | undefined> {
  const [{ loadCertificates }, { MOST_PEM_BYTES }] = await Promise.all([
    import("../x509/certificate.ts"),
    import("../x509/pem.ts"),
  ]);
  let found: readonly Certificate[] = [];
  try {
    found = loadCertificates(await readBounded(await realpath(file), MOST_PEM_BYTES));
  } catch (error) {
    if (isMissing(error)) return undefined;
    if (!(error instanceof AgentError) || error.code !== "CHAIN_UNUSABLE") throw fileError("read", file, error);
  }
  const [first, ...others] = found;
  if (first?.fingerprint === fingerprint && others.length === 0) return first;
  const holds =
    first === undefined ? "something else" : found.map((one) => `the root ${one.fingerprint}`).join(" and ");
  throw new AgentError("DEPLOY_FAILED", `Cannot write "${file}": it is there, with ${holds} in it`, {
    hint: `compare the fingerprints; if the new one is right: mv ${shellWord(file)} ${shellWord(`${file}.old`)}`,
  });
}

async function pin(file: string, origin: string, fingerprint: string, { clock }: World): Promise<Certificate> {
  const { fetchRoot } = await import("../issuers/step-ca/roots.ts");
  const context = { clock, userAgent: `certagent/${VERSION}` };
  const [root] = await fetchRoot(
    { urls: [origin], timeout: 30 * SECOND },
    fingerprint,
    context,
    new AbortController().signal,
  );
  if (!root.isAuthority) {
    throw new AgentError("CHAIN_UNUSABLE", `Cannot trust ${origin}: what has this fingerprint is no CA's certificate`, {
      hint: "the root's is needed: step certificate fingerprint root_ca.crt",
    });
  }
  await makeFolder(dirname(file), { mode: 0o755 });
  await writeAtomically(file, Buffer.from(root.pem), { mode: 0o644 });
  return root;
}

function explain({ print }: World, root: Certificate, origin: string, file: string): ExitCode {
  print.line(`${file} holds ${root.subjectName}, until ${formatInstant(root.notAfter)}`);
  print.line();
  print.line("The issuer in certagent.yaml says so with:");
  print.line(`    url: ${origin}`);
  print.line(`    root: { file: ${file}, fingerprint: ${root.fingerprint} }`);
  return 0;
}
