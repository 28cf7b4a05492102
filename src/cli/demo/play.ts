/** What the acts of the story share: who is on stage, and what is looked at again and again. */
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { LogRecord } from "../../base/log-line.ts";
import { formatInstant, type Instant, SECOND } from "../../base/time.ts";
import { lifetimeOf, renewalWindow } from "../../core/renewal.ts";
import type { CertificateStatus } from "../../core/status-document.ts";
import { probe } from "../../probes/index.ts";
import type { Certificate } from "../../x509/certificate.ts";
import { askStatus } from "../control-client.ts";
import type { Actor } from "./actor.ts";
import type { SeenRequest } from "./ca-role.ts";
import type { CaActor, Call, Cast, ServerActor } from "./cast.ts";
import { type Eyes, NotSeen, see } from "./eyes.ts";
import { type PairWatch, readPair } from "./pair.ts";
import type { Screen } from "./screen.ts";
import { SPEC, type Stage, SUBJECT } from "./stage.ts";

export interface Play {
  readonly stage: Stage;
  readonly eyes: Eyes;
  readonly screen: Screen;
  readonly cast: Cast;
  readonly call: Call;
  readonly watch: PairWatch;
  ca: CaActor;
  readonly server: ServerActor;
  agent: Actor;
  /** What the CA was asked, in all of its lives. */
  readonly requests: SeenRequest[];
  /** What the agent wrote into its journal, in all of its lives. */
  readonly journal: LogRecord[];
}

/** The first digits of a fingerprint, enough to tell a handful of them apart. */
export function short({ fingerprint }: Pick<Certificate, "fingerprint">): string {
  return fingerprint.slice(0, 12);
}

/** How much of a lifetime is over at an instant, for people: `58 %`. */
export function share(leaf: Certificate, at: Instant): string {
  return `${Math.round(((at - leaf.notBefore) / lifetimeOf(leaf)) * 100)} %`;
}

/** The time of day, UTC: `10:22:31Z`. */
export function timeText(instant: Instant): string {
  return formatInstant(instant).slice(11);
}

export function address({ server }: Play): string {
  return `127.0.0.1:${server.port}`;
}

/** What a fresh connection of the demo's own is shown. Throws where nothing is. */
export async function served({ server, eyes }: Play): Promise<Certificate> {
  const target = { host: "127.0.0.1", port: server.port };
  return await probe({ address: target, starttls: "tls", serverName: SUBJECT, timeout: 2 * SECOND }, eyes.signal);
}

/** What the agent answers over its socket; throws where none does. */
export async function statusOf({ stage }: Play): Promise<CertificateStatus> {
  const document = await askStatus(stage.control, [SPEC]);
  const [status] = document?.certificates ?? [];
  if (status === undefined) throw new Error("no agent answers");
  return status;
}

/** The pair in the files. Throws where it is none that a consumer could use. */
export async function wholePair({ stage }: Play): Promise<Certificate> {
  const found = await readPair(stage.pair);
  if (found.kind === "whole") return found.leaf;
  throw new Error(found.kind === "missing" ? "the files are not there" : found.because);
}

/** How long the renewal of a leaf may take, seen from `now`: to the end of its window, and as long as anything. */
export function untilRenewed({ eyes }: Play, leaf: Certificate, now: Instant): number {
  return Math.max(0, renewalWindow(leaf, null).end - now) + eyes.patience;
}

/** Sees the files hold another pair than `old`, with the modes of the spec, and tells so. */
export async function seeWritten(play: Play, old?: Certificate): Promise<void> {
  const { eyes, stage, screen } = play;
  const leaf = await see(
    eyes,
    "a new pair in the files, 0644 and 0600, key and certificate belonging together",
    async (instead) => {
      const leaf = await wholePair(play);
      const modes = await Promise.all([stage.pair.certificate, stage.pair.key].map(modeOf));
      if (leaf.fingerprint === old?.fingerprint) instead("still the old pair");
      else if (modes.join() !== "0644,0600") instead(`modes ${modes.join(" and ")}`);
      else if (leaf.keyId === old?.keyId) instead("a new certificate for the old key");
      else return leaf;
      return undefined;
    },
  );
  screen.show(leaf);
  const names = [stage.pair.certificate, stage.pair.key].map((path) => basename(path));
  screen.event("well", "written", `${names[0]} 0644, ${names[1]} 0600, a new key, and it is the certificate's`);
}

/** Follows links, as consumers do. */
async function modeOf(path: string): Promise<string> {
  return `0${((await stat(path)).mode & 0o7777).toString(8)}`;
}

/** Sees the leaf in the files served to the demo itself, and the agent say the same, tells so and answers with it. */
export async function seeProven(play: Play): Promise<Certificate> {
  const { eyes, screen } = play;
  const leaf = await see(
    eyes,
    `the leaf in the files served at ${address(play)}, and the agent saying so`,
    async (instead) => {
      const [leaf, seen, status] = [await wholePair(play), await served(play), await statusOf(play)];
      const [service] = status.services;
      const isProven = service?.state === "proven" && service.fingerprint === leaf.fingerprint;
      if (seen.fingerprint !== leaf.fingerprint) instead(`${short(seen)} is served, not ${short(leaf)}`);
      else if (status.state !== "current" || !isProven) instead(`served, but the agent says ${status.state}`);
      else return leaf;
      return undefined;
    },
  );
  const end = timeText(leaf.notAfter);
  screen.event("well", "proven", `${address(play)} serves ${short(leaf)} on a fresh connection, valid until ${end}`);
  return leaf;
}

/** Sees the CA certify a new key for whom the old pair authorises, over mTLS, among the requests from `first` on. */
export async function seeRenewed(play: Play, first: number, within: number): Promise<SeenRequest> {
  return await see(
    play.eyes,
    "the CA being asked for a renewal over mTLS, and granting it",
    (instead) => {
      const fresh = play.requests.slice(first);
      instead(fresh.length === 0 ? "no request" : fresh.map(describe).join(", "));
      return fresh.find(({ path, status, mtls }) => path === "/rekey" && status === 201 && mtls);
    },
    within,
  );
}

export function describe({ method, path, status, mtls }: SeenRequest): string {
  return `${method} ${path}${mtls ? " over mTLS" : ""}: ${status}`;
}

/** Throws unless something is so that cannot come true later. */
export function insist(holds: boolean, expected: string, seen: string): void {
  if (!holds) throw new NotSeen(expected, seen);
}
