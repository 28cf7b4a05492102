/** The story, an act a step. What an act tells it has seen; what it does not see in time ends the demo. */
import { access } from "node:fs/promises";
import { connect } from "../../base/connect.ts";
import { isMissing } from "../../base/file-error.ts";
import { type Milliseconds, SECOND, systemClock, withDeadline } from "../../base/time.ts";
import { lifetimeOf, renewalWindow } from "../../core/renewal.ts";
import type { Certificate } from "../../x509/certificate.ts";
import { askStatus } from "../control-client.ts";
import { type Eyes, endingOf, messageOf, NotSeen, see } from "./eyes.ts";
import {
  describe,
  insist,
  type Play,
  seeProven,
  seeRenewed,
  seeWritten,
  served,
  share,
  short,
  statusOf,
  timeText,
  untilRenewed,
  wholePair,
} from "./play.ts";
import { SUBJECT } from "./stage.ts";

export interface Act {
  /** For the progress line and for a failure: `the first certificate`. */
  readonly title: string;
  /** Gets the certificate in force when it begins, and answers with the one in force when it ends. */
  play(play: Play, leaf: Certificate | undefined): Promise<Certificate>;
}

type NextAct = (play: Play, leaf: Certificate) => Promise<Certificate>;

export const ACTS: readonly Act[] = [
  { title: "the first certificate", play: mint },
  next("no secret is left", forgetPassword),
  next("renewal in its window", renew),
  next("the CA is gone", loseCa),
  next("the CA is back", regainCa),
  next("a reload that does not take", ignoreReload),
  next("the agent killed in mid-renewal", killAgent),
  next("the end", stopAgent),
];

function next(title: string, act: NextAct): Act {
  return {
    title,
    play: async (play, leaf) => {
      if (leaf === undefined) throw new TypeError("the first act mints");
      return await act(play, leaf);
    },
  };
}

async function mint(play: Play): Promise<Certificate> {
  const { eyes, screen, requests } = play;
  const signed = await see(eyes, "the CA being asked to sign, and doing so", (instead) => {
    instead(requests.length === 0 ? "no request" : requests.map(describe).join(", "));
    return requests.find(({ path, status }) => path === "/sign" && status === 201);
  });
  insist(!signed.mtls, "a request that a one-time token authorises", describe(signed));
  screen.event("well", "minted", `${SUBJECT}: the CA saw POST /sign, authorised by a one-time token`);
  await seeWritten(play);
  return await seeProven(play);
}

async function forgetPassword({ eyes, screen, stage }: Play, leaf: Certificate): Promise<Certificate> {
  await see(eyes, "the password file deleted", async (instead) => {
    try {
      await access(stage.password);
      instead("it is still there");
      return undefined;
    } catch (error) {
      return isMissing(error) || undefined;
    }
  });
  screen.event("well", "forgotten", "the provisioner's password file is deleted; from here on nothing needs it");
  return leaf;
}

/** What a request may come later than the window says: the agent wakes, connects, and the CA signs, on a busy machine. */
const LATENESS: Milliseconds = 2 * SECOND;

async function renew(play: Play, old: Certificate): Promise<Certificate> {
  const { screen } = play;
  const request = await seeRenewed(play, 0, untilRenewed(play, old, systemClock.now()));
  const window = renewalWindow(old, null);
  const when = share(old, request.at);
  const inWindow = request.at >= window.start && request.at <= window.end + LATENESS;
  insist(inWindow, "a renewal between 1/2 and 2/3 of the lifetime", `one at ${when}`);
  screen.event("well", "renewed", `at ${when} of its lifetime: the CA saw POST /rekey over mTLS`);
  return await seeInForce(play, old);
}

async function seeInForce(play: Play, old: Certificate): Promise<Certificate> {
  await seeWritten(play, old);
  return await seeProven(play);
}

async function loseCa(play: Play, leaf: Certificate): Promise<Certificate> {
  const { eyes, screen, ca } = play;
  await ca.end("SIGKILL");
  await see(eyes, "nobody listening on the CA's port", async (instead) => {
    instead("somebody takes connections there");
    return (await isListening(ca.url)) ? undefined : true;
  });
  screen.event("broken", "killed", `the CA (process ${ca.pid}, SIGKILL): connection refused at ${ca.url}`);

  askToRenew(play);
  const failure = await see(eyes, "the agent failing with ISSUER_UNREACHABLE, and a next try", async (instead) => {
    const { state, failure } = await statusOf(play);
    instead(`${state}, ${failure?.code ?? "no failure"}`);
    return state === "failing" && failure?.code === "ISSUER_UNREACHABLE" && failure.retry_at ? failure : undefined;
  });
  const nextTry = timeText(Date.parse(failure.retry_at ?? ""));
  screen.event("noticed", "failing", `${failure.code}, ${failure.message}; next try ${nextTry}`);
  await see(eyes, `the old ${short(leaf)} served, and valid`, async (instead) => {
    const seen = await served(play);
    const left = seen.notAfter - systemClock.now();
    instead(`${short(seen)}, ${left > 0 ? "valid" : "expired"}`);
    if (seen.fingerprint !== leaf.fingerprint || left <= 0) return undefined;
    screen.event(
      "well",
      "served",
      `${short(seen)} is served on, and valid for another ${(left / SECOND).toFixed(1)} s`,
    );
    return true;
  });
  return leaf;
}

function askToRenew({ agent, screen }: Play): void {
  agent.signal("SIGHUP");
  screen.event("done", "asked", "SIGHUP to the agent: renew now");
}

async function isListening(url: string): Promise<boolean> {
  const { hostname: host, port } = new URL(url);
  try {
    const socket = await connect({ host, port: Number(port) }, url, withDeadline(SECOND));
    socket.destroy();
    return true;
  } catch {
    return false;
  }
}

async function regainCa(play: Play, old: Certificate): Promise<Certificate> {
  const { screen, requests, cast, call, ca } = play;
  const first = requests.length;
  play.ca = await cast.startCa(call, (request) => requests.push(request));
  const isSame = play.ca.url === ca.url && play.ca.root === ca.root;
  insist(isSame, "the same CA: same address, same root", play.ca.url === ca.url ? "another root" : play.ca.url);
  screen.event("done", "back", `the CA at the same address, with the same root (process ${play.ca.pid})`);
  await seeRenewed(play, first, play.eyes.patience);
  screen.event("well", "renewed", "by itself, once the CA is there: over mTLS");
  return await seeInForce(play, old);
}

async function ignoreReload(play: Play, old: Certificate): Promise<Certificate> {
  const { eyes, screen, server, requests, journal } = play;
  const [firstReload, firstRequest, firstEvent] = [server.reloads.length, requests.length, journal.length];
  await server.ignore(1);
  askToRenew(play);
  await seeWritten(play, old);
  await seeReload(play, firstReload, "ignored");
  await seeOnce(eyes, `the old ${short(old)} served`, async () => await served(play), old);
  screen.event("broken", "ignored", `the server was told to reload, and goes on with ${short(old)}`);

  await see(eyes, 'the agent saying "unproven"', async (instead) => {
    const { state } = await statusOf(play);
    instead(state);
    return state === "unproven" || undefined;
  });
  // Of its journal, since it mends that too soon for every look at its status to come in time.
  const stale = await see(eyes, "the agent noting SERVICE_STALE in its journal", (instead) => {
    const events = journal.slice(firstEvent);
    instead(events.map(({ msg }) => msg).join(", "));
    return events.find(({ code }) => code === "SERVICE_STALE");
  });
  const noticedAt = systemClock.monotonic();
  screen.event("noticed", "unproven", `SERVICE_STALE, ${String(stale["reason"])}`);

  await seeReload(play, firstReload, "loaded");
  const granted = requests.slice(firstRequest).map(describe);
  insist(granted.length === 1, "one request to the CA, and none for the second reload", granted.join(", "));
  const after = ((systemClock.monotonic() - noticedAt) / SECOND).toFixed(1);
  screen.event("well", "mended", `the agent had it reload again ${after} s later, without a new issuance`);
  return await seeProven(play);
}

/** Sees that it is this leaf, at the first look. */
async function seeOnce(
  eyes: Eyes,
  expected: string,
  look: () => Promise<Certificate>,
  leaf: Certificate,
): Promise<void> {
  const found = await look().catch((error: unknown) => {
    eyes.signal.throwIfAborted();
    throw new NotSeen(expected, messageOf(error));
  });
  insist(found.fingerprint === leaf.fingerprint, expected, short(found));
}

/** Sees what the server did with a reload that it was told to do, among those from `first` on. */
async function seeReload({ eyes, server }: Play, first: number, how: "loaded" | "ignored"): Promise<void> {
  await see(eyes, `the TLS server told to reload, and that ${how}`, (instead) => {
    const reloads = server.reloads.slice(first);
    instead(reloads.length === 0 ? "it was not told" : reloads.join(", "));
    return reloads.includes(how) || undefined;
  });
}

async function killAgent(play: Play, old: Certificate): Promise<Certificate> {
  const { eyes, screen, requests, ca, agent, call, cast, journal, stage } = play;
  await ca.setFaults({ transport: "silent", only: ["/rekey"] });
  await seeRenewed(play, requests.length, untilRenewed(play, old, systemClock.now()));
  screen.event("broken", "held", "the next renewal: the CA has issued it, and holds its answer");
  await agent.end("SIGKILL");
  await see(eyes, "no agent answering", async (instead) => {
    instead("it still does");
    return (await askStatus(stage.control, [])) === undefined || undefined;
  });
  screen.event("broken", "killed", `the agent (process ${agent.pid}, SIGKILL), waiting for that answer`);
  await seeOnce(eyes, `the whole pair of ${short(old)} in the files`, async () => await wholePair(play), old);
  await seeOnce(eyes, `${short(old)} served`, async () => await served(play), old);
  screen.event("well", "whole", `the pair in the files: key and certificate match, and ${short(old)} is served`);

  await ca.setFaults({});
  const first = requests.length;
  play.agent = await cast.startAgent(call, (event) => journal.push(event));
  screen.event("done", "started", `the agent again (process ${play.agent.pid})`);
  await seeRenewed(play, first, eyes.patience);
  screen.event("well", "renewed", "it sees that its time has come, and asks again");
  return await seeInForce(play, old);
}

async function stopAgent(play: Play, leaf: Certificate): Promise<Certificate> {
  const { eyes, screen, agent, watch, requests } = play;
  const stoppedAt = systemClock.monotonic();
  void agent.end("SIGTERM");
  const { exitCode } = await see(eyes, "the agent ending", () => agent.ending());
  insist(exitCode === 0, "the agent ending with exit code 0", endingOf(agent));
  const after = ((systemClock.monotonic() - stoppedAt) / SECOND).toFixed(1);
  screen.event("well", "stopped", `the agent, by SIGTERM: exit code 0 after ${after} s`);
  await watch[Symbol.asyncDispose]();
  insist(watch.broken.length === 0, "no mismatched, torn or missing pair at any time", watch.broken.join(", "));
  const renewals = requests.filter(({ path, status }) => path === "/rekey" && status === 201).length;
  insist(watch.pairs >= renewals, "every certificate in the files but the one that was lost", `${watch.pairs} of them`);
  const seconds = (screen.elapsed() / SECOND).toFixed(1);
  screen.event(
    "well",
    "done",
    `${watch.pairs} certificates, ${watch.pairs - 1} renewals, 0 mismatched pairs in ${watch.looks} looks, ` +
      `lifetime ${lifetimeOf(leaf) / SECOND} s, ${seconds} s in all`,
  );
  return leaf;
}
