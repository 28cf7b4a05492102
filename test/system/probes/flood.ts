/** An intruder in the agent that asks for ten thousand things at once, nearly all of them nonsense. */
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { chdir } from "node:process";

const TOKEN = "0123456789abcdef";

chdir("/run/certagent/requests");
for (let number = 0; number < 10_000; number += 1) {
  switch (number % 10) {
    case 0:
      writeFileSync(`apply@nobody-${number}`, TOKEN);
      break;
    case 1:
      writeFileSync(`adopt@../../etc-${number}`.replaceAll("/", "∕"), TOKEN);
      break;
    case 2:
      writeFileSync(`apply@web\n<0>forged-${number}`, TOKEN);
      break;
    case 3:
      symlinkSync("/etc/shadow", `failed@link-${number}`);
      break;
    case 4:
      mkdirSync(`observe-${number}/deep/deeper`, { recursive: true });
      writeFileSync(`observe-${number}/deep/full`, "");
      break;
    case 5:
      writeFileSync(`forget@nobody-${number}`, "no token");
      break;
    case 6:
      writeFileSync(`.hidden-${number}`, TOKEN);
      break;
    case 7:
      writeFileSync(Buffer.from([0xff, 0xfe, ...Buffer.from(String(number))]), TOKEN);
      break;
    default:
      writeFileSync(`nonsense-${number}`, TOKEN);
  }
}
writeFileSync("apply@huge", "");
truncateSync("apply@huge", 2 ** 40);
spawnSync("mkfifo", ["apply@fifo", "observe-fifo"]);
