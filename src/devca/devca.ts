/**
 * A CA that speaks step-ca's HTTP, in the process that starts it: for `certagent demo`, and for tests that need a CA to
 * fail in a way that a real one would not. It keeps nothing on disk but its identity, where it is told to. Whatever tests
 * prove of its right answers, the same suite proves of the real step-ca.
 */
import { once } from "node:events";
import type { Server } from "node:https";
import type { AddressInfo } from "node:net";
import { type Clock, systemClock } from "../base/time.ts";
import type { Certificate } from "../x509/certificate.ts";
import type { Faults } from "./faults.ts";
import { keptIdentity } from "./kept.ts";
import type { Claims } from "./provisioner.ts";
import { createCaServer, type RequestRecord } from "./server.ts";
import { type Identity, makeIdentity, makeState, type Policy } from "./state.ts";

export interface DevCaOptions {
  /** 0, the default, is any that is free; a restart keeps it. */
  readonly port?: number;
  /** Names and addresses in its TLS certificate; the first is the host of its URL. */
  readonly names?: readonly [string, ...string[]];
  readonly provisioner?: { readonly name: string; readonly password: string };
  /** A file in which root, intermediate and provisioner outlive the process; made where there is none. */
  readonly keptIn?: string;
  /** Hears of every request when it was answered, and before the answer leaves. */
  readonly onRequest?: (request: RequestRecord) => void;
  readonly policy?: Partial<Policy>;
  readonly clock?: Clock;
}

export interface DevCa extends AsyncDisposable {
  readonly url: string;
  readonly root: Certificate;
  readonly provisioner: {
    readonly name: string;
    readonly password: string;
    readonly jwk: string;
    readonly kid: string;
  };
  /** What it allows, and what is wrong with it. Both may be changed at any time. */
  policy: Policy;
  faults: Faults;
  /** What it was asked since it was made, oldest first. */
  readonly requests: readonly RequestRecord[];
  /** A one-time token for a subject and its names; `claims` replace the usual ones. */
  token(subject: string, names?: readonly string[], claims?: Claims): Promise<string>;
  /** Removes the provisioner: nothing is minted or renewed any more. */
  removeProvisioner(): void;
  /** Closes the port and every connection, as a crash does. */
  stop(): Promise<void>;
  /** Opens it again. Tokens of before are void. */
  start(): Promise<void>;
}

const LOCAL = ["127.0.0.1", "localhost", "::1"] as const;

/** Makes a CA with its own root, and starts it on 127.0.0.1. */
export async function startDevCa(options: DevCaOptions = {}): Promise<DevCa> {
  const { clock = systemClock, names = LOCAL, policy = {}, keptIn, onRequest } = options;
  const provisioner = options.provisioner ?? { name: "certagent", password: "password" };
  const make = (): Promise<Identity> => makeIdentity(provisioner, clock.now());
  const identity = keptIn === undefined ? await make() : await keptIdentity(keptIn, make);
  const state = await makeState({ clock, names, identity, policy });
  const requests: RequestRecord[] = [];
  let port = options.port ?? 0;
  let server: Server | undefined;

  const start = async (): Promise<void> => {
    if (server !== undefined) return;
    state.startedAt = state.now();
    const opened = await createCaServer(state, (request) => {
      requests.push(request);
      onRequest?.(request);
    });
    opened.listen(port, "127.0.0.1");
    await once(opened, "listening");
    port = (opened.address() as AddressInfo).port;
    server = opened;
  };
  const stop = async (): Promise<void> => {
    const closing = server;
    server = undefined;
    if (closing === undefined) return;
    closing.close();
    closing.closeAllConnections();
    await once(closing, "close");
  };

  await start();
  const url = `https://${names[0]}:${port}`;
  return {
    url,
    root: state.roots[0].certificate,
    provisioner: state.provisioner,
    requests,
    get policy() {
      return state.policy;
    },
    set policy(changed) {
      state.policy = changed;
    },
    get faults() {
      return state.faults;
    },
    set faults(changed) {
      state.faults = changed;
    },
    token: (subject, sans = [subject], claims = {}) => state.provisioner.token(url, subject, sans, state.now(), claims),
    removeProvisioner: () => state.provisioners.clear(),
    stop,
    start,
    [Symbol.asyncDispose]: stop,
  };
}
