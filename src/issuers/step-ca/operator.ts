import { userInfo } from "node:os";
import { shellWord } from "../../base/shell-word.ts";
import type { CertificateRequest } from "../../core/ports.ts";
import type { StepCaConfig } from "./config.ts";

/** The command that gives certagent what it needs to mint this request; shown as the hint of `CREDENTIAL_MISSING`. */
export function commandFor(config: StepCaConfig, request: CertificateRequest): string {
  const { kind, source } = config.provisioner.secret;
  if ("credential" in source) {
    const what = { password: "the provisioner's password", token: "a token", key: "the provisioner's JWK" }[kind];
    const name = shellWord(source.credential);
    const command = `systemd-creds encrypt --name=${name} - /etc/credstore.encrypted/${name}`;
    return `hand over ${what}: ${command}; then restart certagent, whose unit needs LoadCredentialEncrypted=${name}`;
  }
  const file = shellWord(source.file);
  if (kind === "token") return `${tokenCommand(config, request)} > ${file}`;
  const what = kind === "password" ? "PASSWORD_FILE" : "PROVISIONER_JWK";
  return `install -m 0600 ${ownerOption()}${what} ${file}`;
}

/** Whoever types it may be root, where this process is not. */
function ownerOption(): string {
  if (process.geteuid?.() === 0) return "";
  try {
    return `-o ${shellWord(userInfo().username)} `;
  } catch {
    return `-o ${process.geteuid?.()} `; // a user without a name
  }
}

function tokenCommand({ provisioner, urls, root }: StepCaConfig, { subject, names }: CertificateRequest): string {
  const own = names.length === 1 && names[0]?.value === subject;
  const sans = own ? [] : names.flatMap(({ value }) => ["--san", shellWord(value)]);
  const trust = root.file === undefined ? [] : ["--root", shellWord(root.file)];
  const address = ["--provisioner", shellWord(provisioner.name), "--ca-url", urls[0] ?? "", ...trust];
  return ["step ca token", shellWord(subject), ...sans, ...address].join(" ");
}
