import { AgentError, type ErrorCode } from "../../base/errors.ts";
import { shellWord } from "../../base/shell-word.ts";
import type { NoAnswer } from "./http.ts";
import { remoteText } from "./remote-text.ts";

interface Explanation {
  readonly fact: string;
  readonly hint?: string;
  readonly code?: ErrorCode;
}

const WRONG_ROOT: Explanation = {
  fact: "its certificate does not chain to the pinned root",
  hint: "has the CA a new root? compare: step certificate fingerprint ROOT, and put the new root into the root file",
};

const NO_HTTP: Explanation = { fact: "what it answers is no HTTP", hint: "is that step-ca's port?" };

const EXPLANATIONS: Readonly<Record<string, Explanation>> = {
  ECONNREFUSED: { fact: "connection refused" },
  ECONNRESET: { fact: "the connection was reset" },
  EPIPE: { fact: "the connection was closed" },
  ETIMEDOUT: { fact: "the connection timed out" },
  EHOSTUNREACH: { fact: "no route to the host" },
  ENETUNREACH: { fact: "the network is unreachable" },
  ENOTFOUND: { fact: "there is no such host name", hint: "getent hosts NAME; is the URL right?" },
  EAI_AGAIN: {
    fact: "the host name cannot be resolved at the moment",
    // The unit's sandbox shows the folders of /run in which resolvers lie that were there at its start.
    hint: "getent hosts NAME; if that works, the resolver came after certagent: systemctl restart certagent",
  },
  EACCES: { fact: "this host does not let certagent connect", hint: "a firewall or IPAddressDeny= of the unit" },
  UND_ERR_SOCKET: { fact: "the connection was closed before the answer was complete" },
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: { fact: "the connection was closed before the answer was complete" },
  UND_ERR_HEADERS_OVERFLOW: { fact: "the headers of the answer are longer than 16 KiB" },
  ERR_ASSERTION: NO_HTTP,
  UND_ERR_HEADERS_TIMEOUT: { fact: "no answer within the deadline" },
  UND_ERR_BODY_TIMEOUT: { fact: "the answer did not end within the deadline" },
  TIMEOUT: { fact: "no answer within the deadline", hint: "the host answers packets, but is step-ca alive there?" },
  PROXY_REFUSED: { fact: "the proxy refused", hint: "the issuer's proxy must allow CONNECT to the CA's port" },
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: WRONG_ROOT,
  UNABLE_TO_GET_ISSUER_CERT: WRONG_ROOT,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: WRONG_ROOT,
  SELF_SIGNED_CERT_IN_CHAIN: WRONG_ROOT,
  DEPTH_ZERO_SELF_SIGNED_CERT: WRONG_ROOT,
  CERT_SIGNATURE_FAILURE: WRONG_ROOT,
  CERT_HAS_EXPIRED: {
    fact: "a certificate of its chain has expired",
    hint: "if the CA's intermediate has not, this host's clock is ahead: timedatectl",
  },
  CERT_NOT_YET_VALID: {
    fact: "its certificate is not valid yet by this host's clock",
    hint: "this host's clock is behind: timedatectl",
    code: "CLOCK_SUSPECT",
  },
  ERR_TLS_CERT_ALTNAME_INVALID: {
    fact: "its certificate is for other names",
    hint: "use a name that the CA has in its dnsNames, or add this one there",
  },
  ERR_SSL_WRONG_VERSION_NUMBER: { fact: "it does not speak TLS there", hint: "is that step-ca's port?" },
};

/** `Cannot reach https://ca.internal:9000: connection refused`, with what can be done about it. */
export function unreachable(origin: string, noAnswer: NoAnswer, anchors: string | undefined): AgentError {
  const { cause } = noAnswer;
  const { fact, hint, code } = explain(noAnswer);
  const trust = anchors === undefined ? "-k" : `--cacert ${shellWord(anchors)}`;
  return new AgentError(code ?? "ISSUER_UNREACHABLE", `Cannot reach ${origin}: ${fact}`, {
    cause,
    hint: hint ?? `Is step-ca running there? curl ${trust} ${origin}/health`,
  });
}

/** Who says that it has issued has, whatever becomes of the rest: `Cannot mint at …: HTTP 201, but the answer is …`. */
export function cutOff(action: string, origin: string, noAnswer: NoAnswer): AgentError {
  const { begun, cause } = noAnswer;
  const message = `Cannot ${action} at ${origin}: HTTP ${begun}, but ${explain(noAnswer).fact}`;
  const hint = "something between this host and the CA cuts its answers, or that is no step-ca: curl -k URL/health";
  return new AgentError("CHAIN_UNUSABLE", message, { cause, hint });
}

/** step-ca itself wants none. */
const WANTS_CERTIFICATE: Explanation = {
  fact: "it wants a client certificate (TLS alert 116)",
  hint: "a proxy before the CA says so, and not step-ca: it must let hosts in that have no certificate yet",
};

function explain({ cause, begun, alert }: NoAnswer): Explanation {
  if (alert === 116) return WANTS_CERTIFICATE;
  if (!(cause instanceof Error)) return { fact: remoteText(String(cause)) };
  const timeout = begun === undefined ? "TIMEOUT" : "UND_ERR_BODY_TIMEOUT";
  if (cause.name === "TimeoutError") return EXPLANATIONS[timeout] ?? { fact: cause.message };
  const { code = "" } = cause as NodeJS.ErrnoException;
  const known = cause.name === "HTTPParserError" ? NO_HTTP : EXPLANATIONS[code];
  // OpenSSL's errors have a short reason, and a text with its own file names.
  const words = "reason" in cause ? String(cause.reason) : cause.message;
  if (known === undefined) return { fact: remoteText(words === "" ? code : words) };
  return code === "PROXY_REFUSED" ? { ...known, fact: cause.message } : known;
}

/** What a TLS server says of a client certificate that it refuses (RFC 8446, 6.2), as step-ca uses it. */
export const CLIENT_CERTIFICATE_ALERTS: ReadonlyMap<number, string> = new Map([
  [42, "the CA does not take it as a client certificate (TLS alert 42)"],
  [45, "it, or its intermediate, has expired or is not valid yet for the CA (TLS alert 45)"],
  [48, "the CA does not know its issuer (TLS alert 48)"],
]);
