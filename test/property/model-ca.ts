import { AgentError } from "../../src/base/errors.ts";
import { DAY, type Instant, MINUTE, SECOND } from "../../src/base/time.ts";
import type { Issued, Issuer, Order } from "../../src/core/ports.ts";
import type { Certificate } from "../../src/x509/certificate.ts";
import { generateKey } from "../../src/x509/key.ts";
import { type Authority, makeAuthority, makePki, type Pki } from "../servers/pki.ts";
import { type CaFault, caFaultsAt, type Scenario } from "./scenario.ts";
import { BEGIN, END_OF_TIME, type SimulatedTime, turn } from "./simulated-time.ts";

/** One call of a CA, as the CA saw it. */
export interface CaCall {
  readonly at: Instant;
  /** The spec, by the subject that it asks for. */
  readonly subject: string;
  /** The names that are asked for. */
  readonly names: string;
  readonly fault: CaFault | null;
  /** What was issued, right or wrong; undefined where nothing was. */
  readonly leaf: Certificate | undefined;
}

export interface ModelCa {
  readonly issuer: Issuer;
  readonly calls: readonly CaCall[];
}

export interface ModelPki {
  readonly pki: Pki;
  readonly root: Authority;
  readonly intermediate: Authority;
}

/** A root and an intermediate that live through every simulation. */
export async function modelPki(): Promise<ModelPki> {
  const dates = { notBefore: BEGIN - DAY, notAfter: END_OF_TIME };
  const root = await makeAuthority({ ...dates, name: "Model Root" });
  const intermediate = await makeAuthority({ ...dates, name: "Model Intermediate", issuer: root, pathLength: 0 });
  return { pki: await makePki("Unused"), root, intermediate };
}

/** A CA that goes by the true time, with the CA faults of a scenario; real certificates. */
export function modelCa(name: string, scenario: Scenario, time: SimulatedTime, authorities: ModelPki): ModelCa {
  const calls: CaCall[] = [];
  const { pki, root, intermediate } = authorities;

  const certify = async ({ request, key }: Order, fault: CaFault | null) => {
    const now = Math.floor(time.truth() / SECOND) * SECOND;
    const begins = fault === "expired" ? now - 2 * scenario.lifetime : now;
    return pki.issue({
      issuer: intermediate,
      names: fault === "wrong-names" ? ["other.internal"] : request.names,
      subject: request.subject,
      key: fault === "other-key" ? await generateKey("ec-p256") : key,
      notBefore: begins,
      notAfter: begins + scenario.lifetime,
    });
  };

  const issue = async (order: Order): Promise<Issued> => {
    const at = time.truth();
    const [fault = null] = caFaultsAt(scenario, at);
    const call: { -readonly [key in keyof CaCall]: CaCall[key] } = {
      at,
      subject: order.request.subject,
      names: order.request.names.map(({ value }) => value).join(),
      fault,
      leaf: undefined,
    };
    calls.push(call);
    await turn();
    const refusal = refusalOf(fault, time, scenario);
    if (refusal !== undefined) throw refusal;
    const { chain } = await certify(order, fault);
    call.leaf = chain[0];
    await turn();
    if (fault === "answer-lost") throw new AgentError("ISSUER_UNREACHABLE", `Cannot reach ${name}: connection reset`);
    return { chain, roots: [root.certificate], via: order.current === undefined ? "token" : "mtls", failedRungs: [] };
  };

  return {
    calls,
    issuer: {
      name,
      type: "model",
      roots: () => Promise.resolve([root.certificate]),
      anchors: () => Promise.resolve([root.certificate]),
      issue,
      holdsSecret: () => false,
      noneWaits: () => {},
      secretSince: () => Promise.resolve(null),
      removeUsed: () => Promise.resolve(),
    },
  };
}

/** What a busy CA asks for: never long enough that obeying it costs a certificate. */
export function retryAfterOf(scenario: Pick<Scenario, "lifetime">): number {
  return Math.min(scenario.lifetime / 8, 30 * MINUTE);
}

function refusalOf(fault: CaFault | null, time: SimulatedTime, scenario: Scenario): AgentError | undefined {
  if (fault === "down") return new AgentError("ISSUER_UNREACHABLE", "Cannot reach the CA: connection refused");
  if (fault === "rejects") return new AgentError("ISSUER_REJECTED", "Cannot get a certificate: not allowed");
  if (fault !== "busy") return undefined;
  const retryAt = time.wall() + retryAfterOf(scenario);
  return new AgentError("ISSUER_BUSY", "Cannot get a certificate: too many requests", { retryAt });
}
