import { execFileSync } from "node:child_process";
import { mkdir, mkdtempDisposable, symlink } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import type { Run } from "../../../src/base/run.ts";
import { findServer, servedByNginx } from "../../../src/services/nginx-config.ts";
import { desiredIn } from "../../integration/apply/harness.ts";

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
  ["listen web.internal ssl;", { host: "web.internal", port: 80 }],
  ["listen [::1] ssl;", { host: "::1", port: 80 }],
  ["listen * ssl;", { host: "127.0.0.1", port: 80 }],
  ["listen unix:/run/nginx.sock ssl;", { path: "/run/nginx.sock" }],
  ["listen unix:/run/nginx.sock ssl; listen 443 ssl;", { host: "127.0.0.1", port: 443 }],
  ["listen 443 ssl proxy_protocol; listen 444 ssl;", { host: "127.0.0.1", port: 444 }],
  ["listen unix:/srv/nginx.sock ssl; listen 443 ssl proxy_protocol;", { host: "127.0.0.1", port: 443 }],
  ["listen 443 udp; listen 443 ssl;", { host: "127.0.0.1", port: 443 }],
  ["listen 443 quic; listen 443 ssl;", { host: "127.0.0.1", port: 443 }],
  ["listen 127.0.0.1:8443-8445 ssl;", { host: "127.0.0.1", port: 8443 }],
  ["listen 443; ssl on;", { host: "127.0.0.1", port: 443 }],
] as const)("%s is looked at from this host", ([listen, address]) => {
  expect(findServer(inHttp(`server { ${listen} ${pair} }`), OURS)?.address).toEqual(address);
});

test.for([
  ["listen 80;", "no TLS"],
  ["listen 443 quic;", "QUIC alone"],
])("%s has nothing to look at: %s", ([listen]) => {
  expect(findServer(inHttp(`server { ${listen} ${pair} }`), OURS)).toBeUndefined();
});

test.for([
  ["web.internal admin.internal", "web.internal"],
  ["_ web.internal", "web.internal"],
  ["*.internal", "www.internal"],
  [".internal", "internal"],
  ['"~^(?<a>x{1,3})\\\\.internal$" web.internal', "web.internal"],
  ["*.internal web.internal", "web.internal"],
  ["mail.*", "mail.www"],
  ["_", null],
  ["my_app.internal", "my_app.internal"],
  ["$hostname", hostname().toLowerCase()],
] as const)("of server_name %s a client asks for %s", ([names, serverName]) => {
  expect(findServer(inHttp(`server { server_name ${names}; listen 443 ssl; ${pair} }`), OURS)?.serverName).toBe(
    serverName,
  );
});

const theirs = "ssl_certificate their.pem; ssl_certificate_key their.key;";

test.for([
  ["one that ends handshakes", "listen 1 ssl default_server; ssl_reject_handshake on;"],
  ["the default one", `listen 1 ssl default_server; ${theirs}`],
  ["one for a name below its own", `listen 1 ssl; server_name www.web.internal; ${theirs}`],
  ["one that says of the address that it speaks TLS", `listen *:1 ssl; ${theirs}`],
] as const)("beside %s ours is asked for as nginx finds it", ([, other]) => {
  const text = `${pair} server { ${other} } server { listen 1; server_name web.internal; }`;

  expect(findServer(inHttp(text), OURS)?.serverName).toBe("web.internal");
});

test("names are nginx's in lower case: who has one in another spelling has none", () => {
  const text = `${pair} server { server_name WEB.internal; listen 1 ssl; ${theirs} } server { listen 1 ssl; server_name web.internal Mail.Internal; }`;

  expect(findServer(inHttp(text), OURS)?.serverName).toBe("mail.internal");
});

const named = "ssl_certificate tls/$ssl_server_name.pem; ssl_certificate_key tls/$ssl_server_name.key;";
const mapped = "ssl_certificate $pem; ssl_certificate_key $key;";

test.for([
  ["its path", `server { listen 1 ssl; ${named} }`, "web"],
  ["its path, in braces", `server { listen 1 ssl; ssl_certificate "/etc/nginx/tls/\${ssl_server_name}.pem"; }`, "web"],
  [
    "a map",
    `map $ssl_server_name $pem { default their.pem; Web.internal tls/web.pem; }
    server { listen 1 ssl; ${mapped} }`,
    "web.internal",
  ],
  [
    "what a map has for all others",
    `map \${ssl_server_name} $pem { hostnames; a.internal their.pem; default tls/web.pem; }
    server { listen 1 ssl; ${mapped} }`,
    "default",
  ],
  [
    "a server for a wildcard",
    `map $ssl_server_name $pem { web.internal tls/web.pem; }
    server { listen 1 ssl; ${theirs} } server { listen 1 ssl; server_name *.internal; ${mapped} }`,
    "web.internal",
  ],
] as const)("a certificate that is picked at each handshake is asked for by the name in %s", ([, text, serverName]) => {
  expect(findServer(inHttp(text), OURS)?.serverName).toBe(serverName);
});

test.for([
  ["another path", "server { listen 1 ssl; ssl_certificate their/$ssl_server_name.pem; }"],
  ["another variable", "map $host $pem { web.internal tls/web.pem; } server { listen 1 ssl; ssl_certificate $pem; }"],
  ["two variables", "server { listen 1 ssl; ssl_certificate $ssl_server_name/$pem; }"],
  [
    "names that another server answers",
    `map $ssl_server_name $pem { www.internal tls/web.pem; }
    server { listen 1 ssl; ${mapped} } server { listen 1 ssl; server_name www.*; ${theirs} }`,
  ],
])("%s is none that is picked for our path", ([, text]) => {
  expect(findServer(inHttp(text ?? ""), OURS)).toBeUndefined();
});

test("the address of a listen is no name to ask for", () => {
  const text = `server { listen localhost:1 ssl; ${pair} } server { listen localhost:1 ssl; server_name localhost; ${theirs} }`;

  expect(findServer(inHttp(text), OURS)).toMatchObject({ address: { host: "localhost" }, serverName: null });
});

test("behind proxies their protocol is spoken, as whoever listens there wants it", () => {
  const text = `server { listen 1 ssl proxy_protocol; ${theirs} } server { listen 1; server_name web.internal; ${pair} }`;

  expect(findServer(inHttp(text), OURS)).toMatchObject({ starttls: "proxy", serverName: "web.internal" });
});

test("a server that ends handshakes is not looked at", () => {
  expect(findServer(inHttp(`${pair} server { listen 1 ssl; ssl_reject_handshake on; }`), OURS)).toBeUndefined();
});

test("of a wildcard a name is asked for that no other server has", () => {
  const other = `server { listen 1 ssl; server_name www.internal; ${theirs} }`;

  const found = findServer(inHttp(`server { listen 1 ssl; server_name *.internal; ${pair} } ${other}`), OURS);

  expect(found?.serverName).toBe("any.internal");
});

test("what another server has for itself is not looked at in place of ours", () => {
  const other = (more: string): string => `server { listen 1 ssl ${more}; server_name web.internal; ${theirs} }`;
  const ours = (names: string): string => `server { listen 1 ssl; server_name ${names}; ${pair} }`;

  expect(findServer(inHttp(other("") + ours("web.internal")), OURS)).toBeUndefined();
  expect(findServer(inHttp(other("") + ours("~^web")), OURS)).toBeUndefined();
  expect(findServer(inHttp(ours("~^web") + other("default_server")), OURS)).toBeUndefined();
  expect(findServer(inHttp(other("") + ours("~^web") + ours("admin.internal")), OURS)?.serverName).toBe(
    "admin.internal",
  );
});

test("an address that another server has for itself is not looked at in place of all that ours has", () => {
  const ours = `server { listen 1 ssl; listen 2 ssl; server_name web.internal; ${pair} }`;

  const beside = (address: string) =>
    findServer(inHttp(`${ours} server { listen ${address} ssl; ${theirs} }`), OURS)?.address;

  expect(beside("127.0.0.1:1")).toEqual({ host: "127.0.0.1", port: 2 });
  expect(beside("10.0.0.1:1")).toEqual({ host: "127.0.0.1", port: 1 });
});

test("a name with a dot before it is that name, too", () => {
  const other = `server { listen 1 ssl; server_name .www.internal; ${theirs} }`;

  const found = findServer(inHttp(`${other} server { listen 1 ssl; server_name *.internal; ${pair} }`), OURS);

  expect(found?.serverName).toBe("any.internal");
});

test("thousands of addresses and names in one server are no work for long, nor memory", () => {
  const listens = Array.from({ length: 3000 }, (_, index) => `listen 10.0.${index >> 8}.${index & 255}:1 ssl;`);
  const names = Array.from({ length: 20_000 }, (_, index) => `n${index}`);
  const before = process.memoryUsage().heapUsed;

  const text = inHttp(`server { ${listens.join(" ")} server_name ${names.join(" ")}; ${pair} }`);

  expect(findServer(text, OURS)).toBeUndefined();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
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

test.for([
  ["addresses", "10.0.0.1 1;"],
  ["servers that are not ours", "server{listen 1;}"],
] as const)("%s by the hundred thousand do not fill the memory that the root side's unit gives", ([, text]) => {
  const program = `
    import { findServer } from ${JSON.stringify(import.meta.resolve("../../../src/services/nginx-config.ts"))};
    const lists = \`geo $from { \${${JSON.stringify(text)}.repeat(${Math.floor(4_000_000 / text.length)})} }\`;
    const ours = "server { listen 448 ssl; ssl_certificate /etc/nginx/tls/web.pem; }";
    const dump = "# configuration file /etc/nginx/nginx.conf:\\nhttp { " + ours + lists + " }";
    console.log(findServer(dump, new Set(["/etc/nginx/tls/web.pem"]))?.address.port);`;
  const flags = ["--optimize-for-size", "--max-semi-space-size=1", "--max-old-space-size=48"];

  const output = execFileSync(process.execPath, [...flags, "--input-type=module", "--eval", program]);

  expect(output.toString()).toBe("448\n");
});

test.each([
  ["a hundred thousand blocks", "a{}".repeat(100_000)],
  ["blocks in blocks", "a{".repeat(300_000)],
  ["a pattern of three million names", 'include "x*{1..3000000}.conf";'],
  ["a pattern of stars", `include "/etc/nginx/${"*a".repeat(25)}b";`],
  [
    "files that include each other",
    "http { include nginx.conf; include nginx.conf; include nginx.conf; listen 1 ssl; }",
  ],
])("%s are seen through in no time", (_, text) => {
  const others = `# configuration file /etc/nginx/${"a".repeat(200)}:\nlisten 1 ssl;\n`;
  const dump = `# configuration file /etc/nginx/nginx.conf:\n${text}\n${others}`;

  expect(findServer(dump, OURS)).toBeUndefined();
});

test.each(["c*.d/[!b]?b.conf", "conf.d/*.conf", "*/*", "conf.d/web.con[a-f]", "conf.d/***b.c*f"])(
  "a file that %s includes is found",
  (pattern) => {
    const dump = `# configuration file /etc/nginx/nginx.conf:
http { include ${pattern}; }
# configuration file /etc/nginx/conf.d/web.conf:
server { listen 450 ssl; ssl_certificate ${[...OURS][0]}; }`;

    expect(findServer(dump, OURS)).toMatchObject({ address: { port: 450 } });
  },
);

/** What is found in such a configuration for the outputs `web.crt` and `web.key` in a folder. */
function foundIn(text: string, folder = "/etc/nginx/tls") {
  const output = inHttp(text);
  const run: Run = async () => ({ exitCode: 0, signal: null, timedOut: false, output });
  return servedByNginx({ run }, ["nginx", "-T"], desiredIn(folder).outputs, new AbortController().signal);
}

const web = "ssl_certificate tls/web.crt; ssl_certificate_key tls/web.key;";
const other443 = `server { listen 443 ssl default_server; server_name other.internal; ${theirs} }`;

test.for([
  ["serves it by QUIC alone", `server { listen 443 quic; ${web} }`, "only where"],
  [
    "serves it to names of a regular expression",
    `${other443} server { listen 443 ssl; server_name ~^w; ${web} }`,
    "only",
  ],
  [
    "picks it by a wildcard",
    `map $ssl_server_name $pem { hostnames; default their.pem; *.internal tls/web.crt; } server { listen 443 ssl; ${mapped} }`,
    "as far as variables are followed",
  ],
  ["serves it by STARTTLS of mail", `server { listen 143; starttls on; ${web} }`, "only where"],
  ["names another file", other443, "none of the outputs"],
  ["has a configuration without end", `geo $a { ${"10.0.0.1 1;".repeat(400_000)} } ${other443}`, "longer than 4 MiB"],
] as const)("of an nginx that %s it is told that nobody can look", async ([, text, fact]) => {
  expect(await foundIn(text)).toMatchObject({ code: "SERVICE_UNSEEN", message: expect.stringContaining(fact) });
});

test.for([
  "server { listen 80; location / { proxy_ssl_certificate tls/web.crt; proxy_ssl_certificate_key tls/web.key; } }",
  `server { listen 443 ssl; ssl_client_certificate /etc/nginx/tls/web.crt; ${theirs} }`,
])("an nginx that shows nobody the certificate, as it has it for %s, has nothing to look at", async (text) => {
  expect(await foundIn(text)).toBeUndefined();
});

test("a listener of UDP at the same address has it for itself", async () => {
  const text = `stream { server { listen 853 udp; proxy_pass dns; } server { listen 853 ssl; ${web} } }`;

  expect(await foundIn(text)).toMatchObject({ address: { port: 853 } });
});

test("an nginx that names the certificate by a linked folder is looked at where it serves that", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-nginx-"));
  const [folder, link] = [join(data.path, "tls"), join(data.path, "link")];
  await mkdir(folder);
  await symlink("tls", link);

  const found = await foundIn(`server { listen 443 ssl; ssl_certificate ${link}/web.crt; }`, folder);

  expect(found).toMatchObject({ address: { port: 443 } });
});

test("an nginx that names the certificate by a link to a link is looked at where it serves that", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-nginx-"));
  const [folder, link] = [join(data.path, "tls"), join(data.path, "ssl")];
  await mkdir(folder);
  await mkdir(join(data.path, "deep/ssl"), { recursive: true });
  await symlink("deep/ssl", link);
  await symlink("../web.crt", join(link, "site.crt"));
  await symlink("../tls/web.crt", join(data.path, "deep/web.crt"));

  const found = await foundIn(`server { listen 443 ssl; ssl_certificate ${link}/site.crt; }`, folder);

  expect(found).toMatchObject({ address: { port: 443 } });
});
