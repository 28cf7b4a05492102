/** An agent that was taken over: what it may put into its folder, as its own user. */
import { chmod, chown, lchown, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Generation } from "../../../src/core/ports.ts";
import type { Layout } from "../../../src/store/layout.ts";
import { NAME, type TestHost } from "../apply/harness.ts";

/** The agent's user, who is nobody else's. */
export const AGENT = 65_534;

export interface HostileAgent {
  /** Where its generations of the one spec lie. */
  readonly folder: string;
  readonly layout: Layout;
  /** Puts a file into it, as the agent's. */
  put(file: string, content: string | Uint8Array): Promise<string>;
  /** Puts a generation that says whatever it is told to. */
  forge(number: number, content: Forged): Promise<void>;
}

export type Forged = Partial<Pick<Generation, "request" | "via" | "issuedAt">> &
  Pick<Generation, "key" | "chain" | "roots">;

/** Gives the agent's folder of a host, with what is in it, to the agent's user. */
export async function takeOver(host: TestHost): Promise<HostileAgent> {
  const { layout } = host;
  const folder = layout.agent.generations(NAME);
  await mkdir(folder, { recursive: true });
  await mkdir(layout.agent.roots, { recursive: true });
  await chmod(host.folder, 0o755); // as on a real host, where the way there is root's and open
  await chown(layout.agent.folder, AGENT, AGENT);
  for (const name of await readdir(layout.agent.folder, { recursive: true })) {
    await lchown(join(layout.agent.folder, name), AGENT, AGENT);
  }
  const put = async (file: string, content: string | Uint8Array): Promise<string> => {
    const path = join(folder, file);
    await writeFile(path, content);
    await chown(path, AGENT, AGENT);
    return path;
  };
  return {
    folder,
    layout,
    put,
    forge: async (number, content) => {
      await put(
        `${number}.json`,
        generationText({ request: host.desired.request, via: "token", issuedAt: 0, ...content }),
      );
    },
  };
}

/** A generation's file as the agent writes it. */
export function generationText({ key, chain, roots, ...rest }: Omit<Generation, "number">): string {
  const pem = (certificates: Generation["roots"]): string => certificates.map((each) => each.pem).join("");
  return `${JSON.stringify({ schema: 1, ...rest, key: key.toPem(), chain: pem(chain), roots: pem(roots) })}\n`;
}
