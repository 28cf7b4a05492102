import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSpecFolder, type SpecFolderOptions, type Specs } from "../../../src/spec/folder.ts";

export const HOST = `issuers:
  internal:
    type: step-ca
    url: https://ca.internal:9000
    root: { file: /etc/certagent/root_ca.crt }
    provisioner: { type: jwk, name: hosts, password: { file: /run/password } }
default_issuer: internal
`;

export const FACTS = { fqdn: "vm1.internal", hostname: "vm1" };

/** Root and whoever runs the tests, as certagent does. */
export const TRUST = { users: [0, process.getuid?.() ?? 0] };

/** A good spec whose two files are `path`.crt and `path`.key. */
export function specText(subject: string, path: string): string {
  return `subject: ${subject}
outputs:
  - { format: fullchain, path: ${path}.crt }
  - { format: key, path: ${path}.key }
`;
}

export interface World extends AsyncDisposable {
  readonly base: string;
  readonly folder: string;
  readonly hostFile: string;
  readonly lastGood: string;
  file(name: string): string;
  write(name: string, text: string): Promise<void>;
  read(owners?: ReadonlyMap<string, string>): Promise<Specs>;
  /** Forgets what is only in memory. */
  restart(as?: Partial<Pick<SpecFolderOptions, "facts" | "readOnly" | "version">>): Promise<void>;
}

/** A folder of specs with a host configuration, in a temporary folder. */
export async function worldIn(): Promise<World> {
  const base = await mkdtemp(join(tmpdir(), "certagent-specs-"));
  const folder = join(base, "certagent.d");
  const hostFile = join(base, "certagent.yaml");
  const lastGood = join(base, "last-good");
  await mkdir(folder, { mode: 0o755 });
  await writeFile(hostFile, HOST, { mode: 0o644 });
  const about = { trust: TRUST, facts: FACTS, version: "1" };
  const open = (as: Partial<SpecFolderOptions> = {}) =>
    openSpecFolder({ folder, hostFile, lastGoodFolder: lastGood, ...about, ...as });
  // Opened where it is asked for: what is still being written cannot be removed.
  let specs: ReturnType<typeof open> | undefined;
  const file = (name: string): string => join(folder, `${name}.yaml`);
  return {
    base,
    folder,
    hostFile,
    lastGood,
    file,
    write: (name, text) => writeFile(file(name), text, { mode: 0o644 }),
    read: async (owners = new Map()) => {
      specs ??= open();
      return (await specs).read({ owners: async () => owners });
    },
    restart: async (as) => {
      specs = open(as);
      await specs;
    },
    [Symbol.asyncDispose]: () => rm(base, { recursive: true }),
  };
}
