import { formatLine, type LogRecord } from "../../base/log-line.ts";
import { type Milliseconds, SECOND } from "../../base/time.ts";
import type { Certificate } from "../../x509/certificate.ts";
import type { Print } from "../print.ts";
import type { Actor } from "./actor.ts";
import { ACTS } from "./acts.ts";
import type { SeenRequest } from "./ca-role.ts";
import type { Call, Cast } from "./cast.ts";
import { type Eyes, NotSeen } from "./eyes.ts";
import { watchPair } from "./pair.ts";
import type { Play } from "./play.ts";
import { openScreen } from "./screen.ts";
import { buildStage, configure } from "./stage.ts";

export interface PerformOptions {
  readonly print: Print;
  readonly cast: Cast;
  /** Ends the demo early. */
  readonly signal: AbortSignal;
  /** How long anything may take that should come at once. */
  readonly patience?: Milliseconds;
}

/**
 * Short enough to see two renewal windows in half a minute. Half of it is what renewals, reloads and proofs may take on a
 * machine whose disk is busy, and a third what a killed agent has left to come back.
 */
const LIFETIME = "20s";
const PATIENCE: Milliseconds = 12 * SECOND;
/** Of the agent's journal, for a failure. */
const LAST_LINES = 12;

/**
 * Plays the story and cleans up after it, however it ends. Answers whether every step was seen; what was not is told,
 * with what was there instead and the agent's last words.
 */
export async function perform(options: PerformOptions): Promise<boolean> {
  const { print, signal, patience = PATIENCE } = options;
  const journal: LogRecord[] = [];
  await using stage = await buildStage();
  await using crew = openCrew();
  await using watch = watchPair(stage.pair);
  using screen = openScreen(print, ACTS.length);
  let act = "setting the stage";
  try {
    const eyes: Eyes = { signal, patience, actors: crew.actors };
    const play = await raise(options, { stage, eyes, join: crew.join }, { screen, watch, journal });
    let leaf: Certificate | undefined;
    for (const [index, { title, play: perform }] of ACTS.entries()) {
      act = `step ${index + 1}, ${title}`;
      screen.wait(index + 1, title);
      leaf = await perform(play, leaf);
    }
    return true;
  } catch (error) {
    if (signal.aborted) {
      print.note("stopped; nothing is left behind");
      return false;
    }
    if (!(error instanceof NotSeen)) throw error;
    print.note(`not seen in ${act}: ${error.expected}`);
    print.note(`seen instead: ${error.seen}`);
    const last = journal.slice(-LAST_LINES);
    if (last.length > 0) print.note("the agent's last words:");
    for (const event of last) print.note(`  ${formatLine(event, "text")}`);
    return false;
  }
}

/** Everybody on stage, and the stage as an operator would have it. */
async function raise(
  { print, cast }: PerformOptions,
  call: Call,
  { screen, watch, journal }: Pick<Play, "screen" | "watch" | "journal">,
): Promise<Play> {
  const { stage, eyes } = call;
  print.line("The whole life of a certificate. Ctrl-C ends it; nothing is left behind.");
  screen.wait(1, "setting the stage");
  const requests: SeenRequest[] = [];
  // One after the other: whoever is being started when the demo is ended has joined the crew before that goes.
  const ca = await cast.startCa(call, (request) => requests.push(request));
  const server = await cast.startServer(call);
  screen.event(
    "done",
    "set up",
    `in ${stage.folder}: an embedded CA at ${ca.url}, with a provisioner's password in a file`,
  );
  screen.event(
    "done",
    "set up",
    `a TLS server at 127.0.0.1:${server.port} that loads its files at SIGHUP, and has none yet`,
  );
  await configure(stage, { ca, server, lifetime: LIFETIME });
  screen.event(
    "done",
    "set up",
    `a spec, web.yaml: certificates of ${LIFETIME}, a new key each, reload and proof at the server`,
  );
  const agent = await cast.startAgent(call, (event) => journal.push(event));
  screen.event("done", "started", `certagent run (process ${agent.pid})`);
  return { stage, eyes, screen, cast, call, watch, ca, server, agent, requests, journal };
}

interface Crew extends AsyncDisposable {
  readonly actors: readonly Actor[];
  readonly join: (actor: Actor) => void;
}

function openCrew(): Crew {
  const actors: Actor[] = [];
  return {
    actors,
    join: (actor) => void actors.push(actor),
    [Symbol.asyncDispose]: async () => {
      await Promise.all(actors.map((actor) => actor.end("SIGKILL")));
    },
  };
}
