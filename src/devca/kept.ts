import { readFile } from "node:fs/promises";
import { writeAtomically } from "../base/atomic-file.ts";
import { isMissing } from "../base/file-error.ts";
import { parseCertificate } from "../x509/certificate.ts";
import { parseKey } from "../x509/key.ts";
import type { Authority } from "./authority.ts";
import { makeProvisioner } from "./provisioner.ts";
import type { Identity } from "./state.ts";

interface KeptAuthority {
  readonly certificate: string;
  readonly key: string;
}

/** The file's content, JSON. Only this module writes it. */
interface Kept {
  readonly root: KeptAuthority;
  readonly intermediate: KeptAuthority;
  readonly provisioner: { readonly name: string; readonly password: string; readonly jwk: string };
}

/** The identity that is kept in a file; where there is no file, one that `make` makes and that is kept from now on. */
export async function keptIdentity(file: string, make: () => Promise<Identity>): Promise<Identity> {
  const text = await readFile(file, "utf8").catch((error: unknown) => {
    if (!isMissing(error)) throw error;
    return undefined;
  });
  if (text !== undefined) return await identityOf(JSON.parse(text) as Kept);
  const identity = await make();
  const bytes = Buffer.from(JSON.stringify(keptOf(identity)));
  await writeAtomically(file, bytes, { mode: 0o600 });
  return identity;
}

function keptOf({ root, intermediate, provisioner: { name, password, jwk } }: Identity): Kept {
  const kept = ({ certificate, key }: Authority): KeptAuthority => ({ certificate: certificate.pem, key: key.toPem() });
  return { root: kept(root), intermediate: kept(intermediate), provisioner: { name, password, jwk } };
}

async function identityOf({ root, intermediate, provisioner: { name, password, jwk } }: Kept): Promise<Identity> {
  const authority = ({ certificate, key }: KeptAuthority): Authority => {
    return { certificate: parseCertificate(certificate), key: parseKey(key) };
  };
  const provisioner = await makeProvisioner(name, password, undefined, jwk);
  return { root: authority(root), intermediate: authority(intermediate), provisioner };
}
