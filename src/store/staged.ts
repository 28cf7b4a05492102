/**
 * The agent's folder as the root side reads it: as input of somebody who may have been taken over. Nothing in it is
 * written, followed, waited for or believed (apply/accept.ts judges what is read).
 */
import { basename, dirname } from "node:path";
import { AgentError } from "../base/errors.ts";
import { fileError } from "../base/file-error.ts";
import { type ForeignFolder, openForeignFolder } from "../base/foreign-folder.ts";
import type { Generation } from "../core/ports.ts";
import { MOST_PEM_BYTES } from "../x509/pem.ts";
import { numberOf, parseGeneration } from "./generations.ts";
import type { Layout } from "./layout.ts";

/** The generations that the agent has staged for one spec. */
export interface StagedGenerations {
  /**
   * The newest number that can be read; undefined where there is none. The folder is not looked into where the asker
   * takes the one for newest that was found last. Throws `STATE_UNUSABLE` for a folder that cannot be read.
   */
  newest(asked?: number | null): Promise<number | undefined>;
  /** Throws what is wrong with the newest file, where there are files and none can be read. */
  requireNone(): Promise<void>;
  /** Throws `KEY_UNUSABLE`, `CHAIN_UNUSABLE` or `STATE_UNUSABLE`. */
  read(number: number): Promise<Generation>;
}

/** The same, for one piece of work that reads several: the way to the folder is walked once. */
export interface HeldGenerations extends StagedGenerations, AsyncDisposable {}

export interface SpecGenerations extends StagedGenerations {
  held(): HeldGenerations;
}

/** An agent keeps three generations; damaged ones stay. */
const MOST_FILES = 1000;
/** So many damaged ones are passed over. */
const MOST_DAMAGED = 8;
/** A key, a chain and the roots, each of the largest size that is read at all, and the request. */
const LARGEST_GENERATION = 4 * MOST_PEM_BYTES;
const MOST_ROOTS = 16;

type UseFolder = <Result>(act: (folder: ForeignFolder | undefined) => Promise<Result>) => Promise<Result>;

export function openStaged({ agent }: Pick<Layout, "agent">, name: string): SpecGenerations {
  const path = agent.generations(name);

  const readFrom = async (folder: ForeignFolder | undefined, number: number): Promise<Generation> => {
    const file = `${path}/${number}.json`;
    if (folder === undefined) throw new AgentError("STATE_UNUSABLE", `Cannot read "${file}": no such file`);
    const bytes = await folder.read(`${number}.json`, LARGEST_GENERATION).catch((error: unknown) => {
      throw fileError("read", file, error, "STATE_UNUSABLE");
    });
    return parseGeneration(bytes, file, number);
  };

  const newestFirst = async (folder: ForeignFolder | undefined): Promise<readonly number[]> => {
    const names = (await folder?.names(MOST_FILES)) ?? [];
    return names.flatMap((file) => numberOf(file) ?? []).toSorted((a, b) => b - a);
  };

  /** What could be read once is newest until a newer one comes. */
  let sound: number | undefined;
  /** The same, until garbage is collected: who asks for the newest reads it right afterwards. */
  let read: WeakRef<Generation> | undefined;
  const isSound = async (folder: ForeignFolder | undefined, number: number): Promise<boolean> => {
    if (number === sound) return true;
    const generation = await readFrom(folder, number).catch(() => undefined);
    read = generation && new WeakRef(generation);
    return generation !== undefined;
  };

  const through = (use: UseFolder): StagedGenerations => ({
    newest: async (asked) => {
      if (asked !== undefined && asked !== null && asked === sound) return sound;
      if (asked !== undefined) sound = undefined; // to the asker it is older, or damaged by now
      return await use(async (folder) => {
        for (const number of (await newestFirst(folder)).slice(0, MOST_DAMAGED)) {
          if (await isSound(folder, number)) return (sound = number);
        }
        return undefined;
      });
    },
    requireNone: () =>
      use(async (folder) => {
        const [number] = await newestFirst(folder);
        if (number !== undefined) await readFrom(folder, number);
      }),
    read: async (number) => {
      const known = read?.deref();
      if (known?.number === number) return known;
      try {
        return await use((folder) => readFrom(folder, number));
      } catch (error) {
        if (number === sound) sound = undefined; // it was damaged since
        throw error;
      }
    },
  });
  const open = (): Promise<ForeignFolder | undefined> => openIn(agent, "generations", name);
  return {
    ...through(async (act) => {
      await using folder = await open();
      return await act(folder);
    }),
    held: () => {
      let folder: ReturnType<typeof open> | undefined;
      return {
        ...through(async (act) => await act(await (folder ??= open()))),
        [Symbol.asyncDispose]: async () => await (await folder?.catch(() => undefined))?.[Symbol.asyncDispose](),
      };
    },
  };
}

/** The roots that the agent has fetched, unread: who pins one by its fingerprint finds it there. */
export async function fetchedRoots({ agent }: Pick<Layout, "agent">): Promise<readonly Uint8Array[]> {
  await using folder = await openIn(agent, basename(agent.roots));
  if (folder === undefined) return [];
  const files: Uint8Array[] = [];
  for (const name of (await folder.names(MOST_FILES)).slice(0, MOST_ROOTS)) {
    const bytes = await folder.read(name, MOST_PEM_BYTES).catch(() => undefined);
    if (bytes !== undefined) files.push(bytes);
  }
  return files;
}

/** A folder in the agent's; what has its name otherwise makes it unusable. */
async function openIn({ folder }: Layout["agent"], ...parts: readonly string[]): Promise<ForeignFolder | undefined> {
  try {
    return await openForeignFolder(dirname(folder), [basename(folder), ...parts]);
  } catch (error) {
    throw fileError("read", [folder, ...parts].join("/"), error, "STATE_UNUSABLE");
  }
}
