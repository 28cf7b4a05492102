import { resolve } from "node:path";
import { type Command, placesOf, type World } from "./command.ts";
import { stopSignal } from "./signals.ts";

export const demo: Command = {
  name: "demo",
  summary: "the whole life of a certificate in one terminal, under a minute; no root needed",
  operands: "",
  options: [
    {
      name: "role",
      value: "ROLE",
      choices: ["ca", "server"],
      description: "what this process is in a demo that is under way",
      isHidden: true,
    },
  ],
  description: `Starts an embedded CA, a TLS server and certagent itself as child processes in a temporary folder, with a spec
whose certificates live for seconds, and shows what happens to them: minted by a token, written, proven to be
served, renewed over mTLS, the CA killed and back, a reload that does not take, the agent killed in mid-renewal.
What is told was seen: on connections and in files of the demo's own, in the CA's log and in the agent's answers.
Ends by itself, and leaves nothing behind; Ctrl-C ends it early.`,
  examples: [["certagent demo", "see it work"]],
  exitCodes: [
    [0, "every step was seen"],
    [1, "one was not, or it was ended early"],
    [2, "used wrongly"],
  ],
  run: async (invocation, world) => {
    const { print, signals } = world;
    const { state: folder } = placesOf(invocation);
    switch (invocation.value("role")) {
      case "ca": {
        const { playCa } = await import("./demo/ca-role.ts");
        await playCa(folder, print);
        return 0;
      }
      case "server": {
        const { playServer } = await import("./demo/server-role.ts");
        const tls = resolve(folder, "tls");
        const files = { certificate: resolve(tls, "fullchain.pem"), key: resolve(tls, "key.pem") };
        await playServer(files, print, signals);
        return 0;
      }
      default:
        return (await direct(world)) ? 0 : 1;
    }
  },
};

async function direct({ print, program, signals, unread }: World): Promise<boolean> {
  const [{ perform }, { createCast }] = await Promise.all([import("./demo/perform.ts"), import("./demo/cast.ts")]);
  const signal = AbortSignal.any([stopSignal(signals), unread]);
  return await perform({ print, cast: createCast(program), signal });
}
