import { AgentError, asAgentError } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Taken } from "./take.ts";

export interface DeskOptions {
  /** The names of the specs in force, among them those that are asked about. */
  readonly known: (asked: readonly string[]) => Promise<readonly string[]>;
  /** Does what is asked. Throws what is to be told as its failure. */
  readonly answer: (taken: Taken) => Promise<unknown>;
  /** Tells how it ended. Never rejects. */
  readonly report: (
    taken: Taken,
    outcome: { readonly result: unknown } | { readonly thrown: unknown },
  ) => Promise<void>;
  readonly log: Log;
  /** Called each time nothing is under way any more. */
  readonly onIdle: () => void;
}

/** All requests that are under way: each for itself, and one of a name at a time. */
export interface Desk {
  /** Begins what is asked. Resolves at once. */
  take(taken: readonly Taken[]): Promise<void>;
  isBusy(): boolean;
  settled(): Promise<void>;
}

/** Who asks for what is not there is told so, but not thousands of times: each answer is a file. */
const MOST_STRANGE = 64;

export function openDesk({ known, answer, report, log, onIdle }: DeskOptions): Desk {
  /** What is under way, by name, and the latest request that came meanwhile: who asked in between asks no more. */
  const atWork = new Map<string, { next: Taken | undefined; readonly done: Promise<void> }>();
  const strange = new Set<string>();

  const serveOne = async (taken: Taken): Promise<void> => {
    const { name } = taken;
    try {
      log.debug("serving", { request: name });
      await report(taken, { result: await answer(taken) });
    } catch (thrown) {
      const { message, stack } = asAgentError(thrown);
      log.debug("a request failed", { request: name, reason: message, stack });
      await report(taken, { thrown });
    }
  };

  const serveAll = async (first: Taken): Promise<void> => {
    for (let taken: Taken | undefined = first; taken !== undefined; ) {
      await serveOne(taken);
      const entry = atWork.get(first.name);
      taken = entry?.next;
      if (entry !== undefined) entry.next = undefined;
    }
    atWork.delete(first.name);
    if (atWork.size === 0) onIdle();
  };

  const begin = (taken: Taken): void => {
    const entry = atWork.get(taken.name);
    if (entry !== undefined) entry.next = taken;
    else atWork.set(taken.name, { next: undefined, done: Promise.resolve().then(() => serveAll(taken)) });
  };

  /** Whether it asks about nothing that there is, of which only so many are answered. */
  const isStrange = ({ request }: Taken, specs: ReadonlySet<string> | undefined): boolean =>
    "spec" in request ? specs?.has(request.spec) === false : request.kind === "forget";

  return {
    take: async (taken) => {
      if (taken.length === 0) return;
      // Where specs cannot be read now, each request fails with the reason.
      const asked = taken.flatMap(({ request }) => ("spec" in request ? [request.spec] : []));
      const specs = await known(asked).then(
        (names) => new Set(names),
        () => undefined,
      );
      let left = 0;
      for (const one of taken) {
        const isOdd = isStrange(one, specs);
        if (isOdd && !strange.has(one.name) && strange.size >= MOST_STRANGE) left += 1;
        else if (isOdd && "spec" in one.request) {
          strange.add(one.name);
          await report(one, { thrown: unknownSpec(one.request.spec) });
        } else {
          if (isOdd) strange.add(one.name);
          begin(one);
        }
      }
      if (left > 0) log.warning("left out requests about what is not there", { requests: left });
    },
    isBusy: () => atWork.size > 0,
    settled: async () => {
      while (atWork.size > 0) await Promise.all([...atWork.values()].map(({ done }) => done));
    },
  };
}

function unknownSpec(name: string): AgentError {
  return new AgentError("SPEC_INVALID", `Cannot apply "${name}": no such spec is in force for the root side`, {
    hint: "certagent check, as root",
  });
}
