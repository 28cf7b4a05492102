/** Looks for secrets where they must not be, in every way of writing that could carry them. */
import { createPrivateKey } from "node:crypto";
import { lstat, readdir, readFile } from "node:fs/promises";
import { join } from "node:path";

/** Something that others can see, and where it was found. */
export interface Evidence {
  readonly where: string;
  readonly text: string;
}

export interface Secret {
  readonly name: string;
  readonly forms: readonly string[];
}

/** A password, a token or a key of any kind as text. */
export function secretOf(name: string, value: string): Secret {
  const bytes = Buffer.from(value);
  const json = JSON.stringify(value).slice(1, -1);
  const shell = value.replaceAll("'", "'\\''");
  const forms = [value, json, JSON.stringify(json).slice(1, -1), shell, encodeURIComponent(value), ...encodings(bytes)];
  return { name, forms: [...new Set(forms)] };
}

/** A private key in PEM: each line of it, and its secret number alone. */
export function keySecretOf(name: string, pem: string): Secret {
  const lines = pem.split("\n").filter((line) => line.length > 16 && !line.startsWith("-----"));
  const { d = "" } = createPrivateKey(pem).export({ format: "jwk" });
  const der = Buffer.from(lines.join(""), "base64");
  return { name, forms: [...new Set([...lines, d, ...encodings(Buffer.from(d, "base64url")), der.toString("hex")])] };
}

/** Hexadecimal, and base64 at each of the three places in which bytes can stand. */
function encodings(bytes: Buffer): readonly string[] {
  const hex = bytes.toString("hex");
  const shifted = [0, 1, 2].flatMap((shift) => {
    const padded = Buffer.concat([Buffer.alloc(shift), bytes]);
    // What the neighbours have a share in is cut off.
    const whole = padded.length - (padded.length % 3);
    const cut = (text: string): string => text.slice(shift === 0 ? 0 : 4);
    return [cut(padded.subarray(0, whole).toString("base64")), cut(padded.subarray(0, whole).toString("base64url"))];
  });
  return [hex, hex.toUpperCase(), ...shifted].filter((form) => form.length >= 12);
}

/** Which secrets are in which evidence, a line each. */
export function hits(secrets: readonly Secret[], evidence: readonly Evidence[]): readonly string[] {
  return evidence.flatMap(({ where, text }) =>
    secrets.filter(({ forms }) => forms.some((form) => text.includes(form))).map(({ name }) => `${name} in ${where}`),
  );
}

/** Every file below a folder that others may read, whatever the folders above it allow. */
export async function readableByOthers(folder: string): Promise<readonly Evidence[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const found: Evidence[] = [];
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const stat = await lstat(path).catch(() => undefined);
    if (!stat?.isFile() || (stat.mode & 0o004) === 0) continue;
    found.push({ where: path, text: (await readFile(path).catch(() => Buffer.alloc(0))).toString("latin1") });
  }
  return found;
}

/** All private keys below a folder, by their paths. */
export async function keysBelow(folder: string): Promise<readonly Secret[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const secrets: Secret[] = [];
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    const text = entry.isFile() ? await readFile(path, "latin1").catch(() => "") : "";
    for (const [pem] of text.matchAll(/-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----\n/g)) {
      secrets.push(keySecretOf(`the key in ${path}`, pem));
    }
  }
  return secrets;
}
