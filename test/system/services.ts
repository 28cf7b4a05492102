/** The servers of the contract's specs inside a machine, as their packages run them, with a pair of another CA at first. */
import type { IssuedLeaf } from "../servers/pki.ts";
import type { Machine } from "./machine.ts";
import { put } from "./put.ts";

export const REDIS_PASSWORD = "oyster-canary-7f31c9d2";

export const UNITS = ["nginx", "postgresql", "redis-server", "prometheus-node-exporter"] as const;

const NGINX = `server {
  listen 127.0.0.1:443 ssl;
  server_name vlc-admin.internal;
  ssl_certificate /etc/nginx/tls/cert/vlc-admin.internal.pem;
  ssl_certificate_key /etc/nginx/tls/key/vlc-admin.internal.pem;
  location / { return 200 "hello"; }
}
`;

const POSTGRES = `ssl = on
ssl_cert_file = '/var/lib/postgresql/server.crt'
ssl_key_file = '/var/lib/postgresql/server.key'
ssl_ca_file = '/var/lib/postgresql/root.crt'
fsync = off
`;

const REDIS = `
port 0
tls-port 6380
tls-cert-file /etc/redis/server.crt
tls-key-file /etc/redis/server.key
tls-ca-cert-file /etc/redis/ca.crt
unixsocket /run/redis/redis-server.sock
unixsocketperm 770
requirepass ${REDIS_PASSWORD}
save ""
`;

const EXPORTER = `tls_server_config:
  cert_file: /etc/node_exporter/server.crt
  key_file: /etc/node_exporter/server.key
`;

/** Where each service's spec wants its certificate and key. */
export const PAIRS = {
  "vlc-admin": ["/etc/nginx/tls/cert/vlc-admin.internal.pem", "/etc/nginx/tls/key/vlc-admin.internal.pem"],
  postgres: ["/var/lib/postgresql/server.crt", "/var/lib/postgresql/server.key"],
  redis: ["/etc/redis/server.crt", "/etc/redis/server.key"],
  "node-exporter": ["/etc/node_exporter/server.crt", "/etc/node_exporter/server.key"],
} as const;

/** Starts all of them, now and at each boot, with `old` and the CA's `root`. */
export async function startServices(machine: Machine, old: IssuedLeaf, root: string): Promise<void> {
  await machine.sh(`
    mkdir -p /etc/nginx/tls/cert /etc/nginx/tls/key /etc/node_exporter /etc/pki/tls
    rm /etc/nginx/sites-enabled/default`);
  const owners = {
    "vlc-admin": "root:root",
    postgres: "postgres:postgres",
    redis: "redis:redis",
    "node-exporter": "root:prometheus",
  };
  for (const [name, [certificate, key]] of Object.entries(PAIRS)) {
    const owner = owners[name as keyof typeof owners];
    await put(machine, certificate, old.pem, "0644", owner);
    await put(machine, key, old.key.toPem(), name === "node-exporter" ? "0640" : "0600", owner);
  }
  await put(machine, "/etc/nginx/conf.d/vlc-admin.conf", NGINX);
  await put(machine, "/var/lib/postgresql/root.crt", root, "0644", "postgres:postgres");
  const version = await machine.sh("ls /etc/postgresql");
  await put(machine, `/etc/postgresql/${version}/main/conf.d/tls.conf`, POSTGRES);
  await put(machine, "/etc/redis/ca.crt", root, "0644", "redis:redis");
  await machine.sh("cat >> /etc/redis/redis.conf", { input: REDIS });
  await put(machine, "/etc/node_exporter/web.yml", EXPORTER);
  const options = "--web.config.file=/etc/node_exporter/web.yml --web.listen-address=127.0.0.1:9100";
  await put(machine, "/etc/default/prometheus-node-exporter", `ARGS="${options} --collector.disable-defaults"\n`);
  await machine.sh(`systemctl enable --now ${UNITS.join(" ")}`);
}
