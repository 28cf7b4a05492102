/** An intruder in the agent that asks for ten thousand things, nearly all of them nonsense, as fast as there is room. */
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { chdir } from "node:process";

const TOKEN = "0123456789abcdef";

chdir("/run/certagent/requests");
for (let number = 0; number < 10_000; number += 1) insist(() => ask(number));
insist(() => writeFileSync("apply@huge", ""));
insist(() => truncateSync("apply@huge", 2 ** 40));
spawnSync("mkfifo", ["apply@fifo", "observe-fifo"]);

/** Again and again while the file system is full; what was half done and taken away meanwhile is left out. */
function insist(act: () => void): void {
  for (;;) {
    try {
      act();
      return;
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "ENOSPC") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
      else if (code === "ENOENT" || code === "EEXIST") return;
      else throw error;
    }
  }
}

function ask(number: number): void {
  switch (number % 10) {
    case 0:
      return writeFileSync(`apply@nobody-${number}`, TOKEN);
    case 1:
      return writeFileSync(`adopt@../../etc-${number}`.replaceAll("/", "∕"), TOKEN);
    case 2:
      return writeFileSync(`apply@web\n<0>forged-${number}`, TOKEN);
    case 3:
      return symlinkSync("/etc/shadow", `failed@link-${number}`);
    case 4:
      mkdirSync(`observe-${number}/deep/deeper`, { recursive: true });
      return writeFileSync(`observe-${number}/deep/full`, "");
    case 5:
      return writeFileSync(`forget@nobody-${number}`, "no token");
    case 6:
      return writeFileSync(`.hidden-${number}`, TOKEN);
    case 7:
      return writeFileSync(Buffer.from([0xff, 0xfe, ...Buffer.from(String(number))]), TOKEN);
    default:
      return writeFileSync(`nonsense-${number}`, TOKEN);
  }
}
