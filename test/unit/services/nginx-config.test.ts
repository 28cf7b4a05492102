import { expect, test } from "vitest";
import { findServer } from "../../../src/services/nginx-config.ts";

const OURS = new Set(["/etc/nginx/tls/web.pem"]);

/** What `nginx -T` prints for these files; the first is the main one. */
function dump(files: Readonly<Record<string, string>>): string {
  const parts = Object.entries(files).map(([path, text]) => `# configuration file ${path}:\n${text}\n`);
  return `nginx: configuration file /etc/nginx/nginx.conf test is successful\n${parts.join("")}`;
}

function inHttp(text: string): string {
  return dump({ "/etc/nginx/nginx.conf": `events {} http { ${text} }` });
}

const pair = "ssl_certificate tls/web.pem; ssl_certificate_key tls/web.key;";

test.for([
  ["listen 443 ssl;", { host: "127.0.0.1", port: 443 }],
  ["listen 80; listen *:8443 ssl http2 default_server;", { host: "127.0.0.1", port: 8443 }],
  ["listen [::]:443 ssl;", { host: "::1", port: 443 }],
  ["listen 10.0.0.1:443 ssl;", { host: "10.0.0.1", port: 443 }],
  ["listen web.internal ssl;", { host: "web.internal", port: 443 }],
  ["listen unix:/run/nginx.sock ssl;", { path: "/run/nginx.sock" }],
  ["listen 443 ssl proxy_protocol; listen 444 ssl;", { host: "127.0.0.1", port: 444 }],
] as const)("%s is looked at from this host", ([listen, address]) => {
  expect(findServer(inHttp(`server { ${listen} ${pair} }`), OURS)?.address).toEqual(address);
});

test.for([
  ["listen 80;", "no TLS"],
  ["listen 443 quic;", "QUIC alone"],
  ["listen 443 ssl proxy_protocol;", "a proxy's protocol"],
])("%s has nothing to look at: %s", ([listen]) => {
  expect(findServer(inHttp(`server { ${listen} ${pair} }`), OURS)).toBeUndefined();
});

test.for([
  ["web.internal admin.internal", "web.internal"],
  ["_ web.internal", "web.internal"],
  ["*.internal", "www.internal"],
  [".internal", "internal"],
  ['"~^(?<a>x{1,3})\\\\.internal$" web.internal', "web.internal"],
  ["_", null],
] as const)("of server_name %s a client asks for %s", ([names, serverName]) => {
  expect(findServer(inHttp(`server { server_name ${names}; listen 443 ssl; ${pair} }`), OURS)?.serverName).toBe(
    serverName,
  );
});

test("a certificate in a file that is included, or in the block around, is found", () => {
  const included = dump({
    "/etc/nginx/nginx.conf": "http { include mime.types; include sites/*.conf; }",
    "/etc/nginx/mime.types": "types { text/html html; }",
    "/etc/nginx/sites/a.conf": "server { listen 444 ssl; ssl_certificate /etc/other.pem; }",
    "/etc/nginx/sites/b.conf": "server { listen 445 ssl; include snippets/tls.conf; }",
    "/etc/nginx/snippets/tls.conf": pair,
  });

  expect(findServer(included, OURS)?.address).toMatchObject({ port: 445 });
  expect(findServer(inHttp(`${pair} server { listen 446 ssl; }`), OURS)?.address).toMatchObject({ port: 446 });
});

test("comments, quotes, braces in words and files that include each other do not mislead", () => {
  const tricky = dump({
    "/etc/nginx/nginx.conf": `http { # server { listen 1 ssl; }
      log_format main '$remote_addr "} { ;" #'; map $a \${b} { "~^x{2}" 1; default ''; }
      include loop.conf; server { listen 447 ssl; ${pair} location ~ \\.php$ { return 200 "};"; } } }`,
    "/etc/nginx/loop.conf": "include loop.conf;",
  });

  expect(findServer(tricky, OURS)?.address).toMatchObject({ port: 447 });
});

test("what is no configuration names no address", () => {
  for (const text of [
    "",
    "nginx: [emerg] unknown directive",
    "# configuration file /a:\n}}}}",
    "# configuration file /a:\n{{{",
  ]) {
    expect(findServer(text, OURS)).toBeUndefined();
  }
});
