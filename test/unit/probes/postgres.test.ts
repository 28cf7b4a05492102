import type { Socket } from "node:net";
import { expect, test } from "vitest";
import { SECOND } from "../../../src/base/time.ts";
import { probe } from "../../../src/probes/index.ts";
import { startPlainServer } from "../../servers/tls.ts";

const signal = new AbortController().signal;

const answers: Record<string, [talk: (socket: Socket) => void, words: string]> = {
  "has TLS switched off": [(socket) => socket.write("N"), "PostgreSQL there has TLS switched off"],
  "is no PostgreSQL": [
    (socket) => socket.write("HTTP/1.1 400 Bad Request\r\n"),
    "what listens there is not PostgreSQL",
  ],
  "slips plain text in behind its answer": [(socket) => socket.write("SE"), "what listens there is not PostgreSQL"],
  "hangs up": [(socket) => socket.end(), "no answer to an SSLRequest"],
  "does not answer": [() => {}, "no answer to an SSLRequest"],
};

test.for(Object.entries(answers))(
  "the postgres probe says what it met where a server %s",
  async ([, [talk, words]]) => {
    const requests: (string | Buffer)[] = [];
    await using server = await startPlainServer((socket) => {
      socket.once("data", (request) => {
        requests.push(request);
        talk(socket);
      });
    });
    const address = { host: "127.0.0.1", port: server.port };

    const looking = probe({ address, starttls: "postgres", serverName: null, timeout: SECOND }, signal);

    await expect(looking).rejects.toMatchObject({
      code: "SERVICE_STALE",
      message: `Cannot see the certificate at 127.0.0.1:${server.port}: ${words}`,
    });
    expect(requests.map((request) => Buffer.from(request).toHex()).join("")).toBe("0000000804d2162f");
  },
);
