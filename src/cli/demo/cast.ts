/** Who plays: three child processes, each this very program. */
import type { LogRecord } from "../../base/log-line.ts";
import type { Faults } from "../../devca/faults.ts";
import { type Actor, type OnLine, startActor } from "./actor.ts";
import type { CaFacts, CaWord, SeenRequest } from "./ca-role.ts";
import { type Eyes, see } from "./eyes.ts";
import type { ServerWord } from "./server-role.ts";
import type { Stage } from "./stage.ts";

export interface CaActor extends Actor, CaFacts {
  /** What is wrong with it from now on, in force when this resolves. */
  setFaults(faults: Faults): Promise<void>;
}

export interface ServerActor extends Actor {
  readonly port: number;
  /** The argv that has it reload. */
  readonly reload: readonly string[];
  /** What it did at each SIGHUP, oldest first. */
  readonly reloads: readonly ("loaded" | "ignored" | "failed")[];
  /** Has it ignore so many of the next SIGHUPs, in force when this resolves. */
  ignore(count: number): Promise<void>;
}

/** What a role is started with. */
export interface Call {
  readonly stage: Stage;
  readonly eyes: Eyes;
  /** Whoever is started is on stage from then on. */
  readonly join: (actor: Actor) => void;
}

/** How the roles are filled. Tests have one of them played badly. */
export interface Cast {
  startCa(call: Call, onRequest: (request: SeenRequest) => void): Promise<CaActor>;
  startServer(call: Call): Promise<ServerActor>;
  /** `onEvent` hears the agent's journal. */
  startAgent(call: Call, onEvent: (event: LogRecord) => void): Promise<Actor>;
}

/** The usual cast. `program` is what starts this program: Node, its flags, the file. */
export function createCast(program: readonly string[]): Cast {
  const role = (name: string, folder: string): readonly string[] => [
    ...program,
    "demo",
    "--role",
    name,
    "--state",
    folder,
  ];
  return {
    startCa: (call, onRequest) => startCa(call, role("ca", call.stage.ca), onRequest),
    startServer: (call) => startServer(call, role("server", call.stage.folder)),
    startAgent: (call, onEvent) => startAgent(call, program, onEvent),
  };
}

async function startCa(
  { eyes, join }: Call,
  argv: readonly string[],
  onRequest: (request: SeenRequest) => void,
): Promise<CaActor> {
  let ready: CaFacts | undefined;
  let inForce = "";
  const errors: string[] = [];
  const actor = await startActor(
    "the CA",
    argv,
    listen(errors, (said) => {
      const word = said as CaWord;
      if ("ready" in word) ({ ready } = word);
      else if ("request" in word) onRequest(word.request);
      else inForce = JSON.stringify(word.faults);
    }),
    join,
  );
  const facts = await see(eyes, "the CA listening", (instead) => {
    instead(errors.at(-1) ?? "no word of it");
    return ready;
  });
  return {
    ...actor,
    ...facts,
    setFaults: async (faults) => {
      const line = JSON.stringify(faults);
      actor.tell(line);
      await see(eyes, "the CA taking its part", () => inForce === line || undefined);
    },
  };
}

async function startServer({ eyes, join }: Call, argv: readonly string[]): Promise<ServerActor> {
  let port: number | undefined;
  let ignoring = 0;
  const reloads: ("loaded" | "ignored" | "failed")[] = [];
  const errors: string[] = [];
  const actor = await startActor(
    "the TLS server",
    argv,
    listen(errors, (said) => {
      const word = said as ServerWord;
      if ("ready" in word) ({ port } = word.ready);
      else if ("reload" in word) reloads.push(word.reload);
      else ({ ignoring } = word);
    }),
    join,
  );
  const found = await see(eyes, "the TLS server listening", (instead) => {
    instead(errors.at(-1) ?? "no word of it");
    return port;
  });
  return {
    ...actor,
    port: found,
    // Not kill(1), which minimal images do not have.
    reload: [argv[0] ?? "", "-e", `process.kill(${actor.pid}, "SIGHUP")`],
    reloads,
    ignore: async (count) => {
      actor.tell(String(count));
      await see(eyes, "the TLS server taking its part", () => ignoring === count || undefined);
    },
  };
}

/** Lines of JSON are words of a role; what goes to standard error is a defect. */
function listen(errors: string[], onWord: (word: unknown) => void): OnLine {
  return (line, from) => {
    const word = from === "output" ? documentOf(line) : undefined;
    if (word === undefined) errors.push(line);
    else onWord(word);
  };
}

/** The other roles end when their input does; the agent, which is no role of the demo, when the demo is killed. */
const WITH_US = ["/usr/bin/setpriv", "--pdeathsig=KILL"];

/** `certagent run`, as it is shipped: it listens for SIGUSR1 itself, so that flag of the other commands goes. */
async function startAgent(
  { stage, join }: Call,
  program: readonly string[],
  onEvent: (event: LogRecord) => void,
): Promise<Actor> {
  const { config, specs, state, runtime } = stage.places;
  const places = ["--config", config, "--specs", specs, "--state", state, "--runtime", runtime];
  const node = program.filter((word) => word !== "--disable-sigusr1");
  return await startActor(
    "the agent",
    [...WITH_US, ...node, "run", ...places, "--log", "json"],
    (line, from) => {
      if (from === "error") onEvent((documentOf(line) as LogRecord | undefined) ?? { level: "error", msg: line });
    },
    join,
  );
}

/** Undefined for what is no document: Node's own last words, or a line that its writer did not live to end. */
function documentOf(line: string): unknown {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
