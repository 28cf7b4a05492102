import { expect, test } from "vitest";
import { unreachable } from "../../../../src/issuers/step-ca/unreachable.ts";

test("who wants a client certificate of everybody is told as a proxy, not as a CA that does not run", () => {
  const closed = { cause: new Error("other side closed"), sent: true, begun: undefined, silent: true, alert: 116 };

  const { message, hint } = unreachable("https://ca", closed, undefined);

  expect(message).toBe("Cannot reach https://ca: it wants a client certificate (TLS alert 116)");
  expect(hint).toMatch(/^a proxy before the CA says so/);
});

test("who looks names up may have come after the agent, whose sandbox does not see that: a restart is the remedy", () => {
  const cause = Object.assign(new Error("getaddrinfo EAI_AGAIN ca.internal"), { code: "EAI_AGAIN" });
  const noAnswer = { cause, sent: false, begun: undefined, silent: false, alert: undefined };

  const { message, hint } = unreachable("https://ca.internal:9000", noAnswer, undefined);

  expect(message).toBe("Cannot reach https://ca.internal:9000: the host name cannot be resolved at the moment");
  expect(hint).toMatch(/getent hosts .*systemctl restart certagent/);
});
