import { expect, test } from "vitest";
import { z } from "zod";
import { SERVICE_TYPES, serviceSchema } from "../../../src/services/index.ts";
import { serviceOf } from "../../servers/service.ts";

function complaints(entry: unknown): string[] {
  const result = serviceSchema.safeParse(entry);
  return result.success ? [] : result.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

test("every kind parses with its fewest keys and says what it will do", () => {
  const socket = "/run/redis/redis.sock";
  const fewest = {
    nginx: [{}, ["nginx -t", "systemctl reload nginx"]],
    postgresql: [{}, ["systemctl reload postgresql"]],
    redis: [{ socket }, [`CONFIG SET tls-cert-file tls-key-file at ${socket}`]],
    systemd: [{ unit: "api" }, ["systemctl reload api"]],
    command: [{ reload: ["/usr/bin/x", "a b"] }, ["/usr/bin/x 'a b'"]],
    none: [{}, []],
  } as const;

  const steps = Object.entries(fewest).map(([type, [keys]]) => serviceOf({ type, ...keys }).steps);

  expect(Object.keys(fewest)).toEqual(SERVICE_TYPES);
  expect(steps).toEqual(Object.values(fewest).map(([, expected]) => expected));
});

test("the contract's services parse into their targets", () => {
  const probe = { connect: "127.0.0.1:443", server_name: "vlc-admin.internal" };

  expect(serviceOf({ type: "nginx", probe })).toMatchObject({
    timeout: 30_000,
    passive: false,
    window: null,
    probe: {
      address: { host: "127.0.0.1", port: 443 },
      starttls: "tls",
      serverName: "vlc-admin.internal",
      timeout: 5000,
    },
  });
  expect(serviceOf({ type: "postgresql", probe: { connect: "127.0.0.1:5432" } }).probe?.starttls).toBe("postgres");
  expect(serviceOf({ type: "none", probe: { connect: "127.0.0.1:9100" } })).toMatchObject({ passive: true, steps: [] });
  expect(
    serviceOf({ type: "redis", socket: "/s", probe: { connect: "[::1]:6380", timeout: "2s" } }).probe,
  ).toMatchObject({
    address: { host: "::1", port: 6380 },
    timeout: 2000,
  });
});

test("a probe asks for the host of its address where that is a name", () => {
  const serverName = (connect: string): string | null | undefined =>
    serviceOf({ type: "none", probe: { connect } }).probe?.serverName;

  expect(serverName("web.internal:443")).toBe("web.internal");
  expect(serverName("10.0.0.1:443")).toBeNull();
  expect(serverName("/run/web.sock")).toBeNull();
});

test("commands of the spec replace those of the kind", () => {
  const own = {
    preflight: ["/usr/bin/docker", "exec", "web", "nginx", "-t"],
    reload: ["/usr/bin/docker", "kill", "-s", "HUP", "web"],
  };

  expect(serviceOf({ type: "nginx", ...own }).steps).toEqual([
    "/usr/bin/docker exec web nginx -t",
    "/usr/bin/docker kill -s HUP web",
  ]);
  expect(serviceOf({ type: "redis", reload: own.reload }).steps).toEqual(["/usr/bin/docker kill -s HUP web"]);
  expect(serviceOf({ type: "systemd", unit: "web", ...own }).steps.length).toBe(2);
});

test("services are one where they do the same to the same", () => {
  const key = (entry: Record<string, unknown>): string => serviceOf(entry).key;
  const probe = { connect: "127.0.0.1:443" };

  expect(key({ type: "nginx", probe })).toBe(key({ type: "nginx", unit: "nginx" }));
  expect(key({ type: "nginx" })).not.toBe(key({ type: "nginx", unit: "nginx@two" }));
  expect(key({ type: "nginx" })).not.toBe(key({ type: "systemd", unit: "nginx" }));
  expect(key({ type: "systemd", unit: "a" })).not.toBe(key({ type: "systemd", unit: "a", action: "restart" }));
  expect(key({ type: "redis", socket: "/a" })).not.toBe(key({ type: "redis", socket: "/b" }));
});

const COMMAND = 'write the command as a list: ["/usr/sbin/nginx", "-s", "reload"]';
const UNIT = "unit: write the name of a systemd unit, such as nginx.service, or app@one.service of a template";
const ADDRESS = 'write "host:port", "[2001:db8::1]:port" or "/path/to/socket"';
const broken: [entry: unknown, complaint: string][] = [
  [{ type: "nginx", realod: [] }, ': Unrecognized key: "realod"'],
  [{ type: "nginx", reload: "nginx -s reload" }, `reload: ${COMMAND}`],
  [{ type: "nginx", reload: [] }, 'reload: write the program and its arguments: ["/usr/sbin/nginx", "-s", "reload"]'],
  [{ type: "nginx", reload: ["nginx", "-s"] }, "reload.0: write the absolute path of the program"],
  [{ type: "nginx", preflight: ["/a", "b\0"] }, "preflight.1: write a word without NUL characters"],
  [{ type: "command" }, `reload: ${COMMAND}`],
  [{ type: "none", timeout: 30 }, 'timeout: write a duration with its unit, at most an hour: "30s", "2m"'],
  [{ type: "none", timeout: "2h" }, 'timeout: write a duration with its unit, at most an hour: "30s", "2m"'],
  [{ type: "none", probe: { connect: 443 } }, `probe.connect: ${ADDRESS}`],
  ...[
    "",
    "host",
    "host:0",
    "host:65536",
    "::1:443",
    "[1.2.3.4]:443",
    "[::1]",
    "a b:1",
    "http://a:1",
    "host:1/",
    "/",
  ].map((connect): [unknown, string] => [{ type: "none", probe: { connect } }, `probe.connect: ${ADDRESS}`]),
  [{ type: "none", probe: { connect: "a:1", server_name: "a b" } }, "probe.server_name: write a DNS name"],
  [{ type: "none", probe: { connect: "a:1", starttls: "gopher" } }, "probe.starttls: write one of: postgres, proxy"],
  [{ type: "systemd", unit: "-x" }, UNIT],
  [{ type: "systemd", unit: "app@" }, UNIT],
  [{ type: "nginx", unit: "app@.service" }, UNIT],
  [{ type: "systemd", unit: "a", action: "stop" }, "action: write reload or restart"],
  [
    { type: "systemd", unit: "a", window: { cron: "0 2 * * *" } },
    "window: maintenance windows are not in this version yet",
  ],
  [{ type: "redis" }, "type: write socket: the path of Redis's socket, or connect: its address"],
  [{ type: "redis", socket: "/a", connect: "a:1" }, "connect: write socket or connect, not both"],
  [{ type: "redis", socket: "/a", tls: true }, "tls: write tls with connect alone: Redis's socket has no TLS"],
  [
    { type: "redis", connect: "127.0.0.1:6379", password: { file: "/a" } },
    "password: write tls: true beside password, or socket: whoever listens at connect has it",
  ],
  [{ type: "redis", socket: "/a", username: "u" }, "username: write password: { file: … } beside username"],
  [{ type: "redis", socket: "a" }, "socket: write an absolute path"],
];

test.for(broken)("%j is refused with what to write", ([entry, complaint]) => {
  expect(complaints(entry)).toEqual([complaint]);
});

test("the JSON Schema for editors describes every key of every kind", () => {
  const { oneOf } = z.toJSONSchema(serviceSchema, { io: "input" });

  const undescribed = oneOf?.flatMap((kind) => {
    const { properties = {} } = kind as z.core.JSONSchema.ObjectSchema;
    return Object.entries(properties)
      .filter(([key, value]) => key !== "type" && !(typeof value === "object" && "description" in value))
      .map(([key]) => key);
  });

  expect(oneOf?.length).toBe(SERVICE_TYPES.length);
  expect(undescribed).toEqual([]);
});
