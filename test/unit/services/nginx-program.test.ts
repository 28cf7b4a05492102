import { expect, test } from "vitest";
import { calledBy, startedByUnit } from "../../../src/services/nginx-program.ts";
import { system } from "../../servers/service.ts";

test.for([
  ["/usr/sbin/nginx -t", "/usr/sbin/nginx"],
  ["/usr/sbin/nginx -c /etc/nginx/two.conf -tq", "/usr/sbin/nginx -c /etc/nginx/two.conf"],
  ["/opt/nginx -p /srv/two -s reload", "/opt/nginx -p /srv/two"],
  ["/opt/nginx -sreload -c two.conf", "/opt/nginx -c two.conf"],
  ["/usr/bin/docker exec web nginx -t", undefined],
] as const)("%s calls %s", ([command, program]) => {
  expect(calledBy(command.split(" "))).toEqual(program?.split(" "));
});

test.for([
  ["/usr/sbin/nginx", "-g daemon on; master_process on;", "/usr/sbin/nginx"],
  ["/usr/sbin/nginx", "-c /etc/nginx/two.conf -p/srv/two", "/usr/sbin/nginx -c /etc/nginx/two.conf -p /srv/two"],
  ["/usr/sbin/nginx", "-c $CONFIGURATION", "nginx"],
  ["/usr/bin/docker", "run -p 443:443 -c 512 nginx", "nginx"],
] as const)("a unit that starts %s with %s has %s", async ([path, words, program]) => {
  const output = `ExecStart={ path=${path} ; argv[]=${path} ${words} ; ignore_errors=no ; pid=0 ; status=0/0 }\n`;
  const ask = async () => ({ exitCode: 0, signal: null, timedOut: false, output });

  const started = await startedByUnit({ ...system, ask }, "nginx-two.service", new AbortController().signal);

  expect(started).toEqual(program.split(" "));
});
