import { type Ending, startProgram } from "../../base/run.ts";

/** A child process of the demo. */
export interface Actor {
  /** For people: `the agent`. */
  readonly name: string;
  readonly pid: number;
  /** How it ended; undefined while it runs. */
  ending(): Ending | undefined;
  /** Whether its end was asked for. */
  mayEnd(): boolean;
  signal(name: NodeJS.Signals): void;
  /** Sends a signal that ends it, and waits for that. */
  end(name: NodeJS.Signals): Promise<Ending>;
  tell(line: string): void;
}

/** Hears what a child writes. */
export type OnLine = (line: string, from: "output" | "error") => void;

/** Starts an actor, and has it join those on stage at once, so that nobody is left behind. */
export async function startActor(
  name: string,
  argv: readonly string[],
  onLine: OnLine,
  join: (actor: Actor) => void,
): Promise<Actor> {
  const { pid, ended, tell, signal } = await startProgram(argv, onLine);
  let ending: Ending | undefined;
  let mayEnd = false;
  void ended.then((how) => {
    ending = how;
  });
  const actor: Actor = {
    name,
    pid,
    ending: () => ending,
    mayEnd: () => mayEnd,
    signal,
    end: (how) => {
      mayEnd = true;
      signal(how);
      return ended;
    },
    tell,
  };
  join(actor);
  return actor;
}
