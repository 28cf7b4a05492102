import { dlopen } from "node:ffi";
import { mkdtempDisposable, readFile, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { type Notifier, openNotifier } from "../../../src/base/notify.ts";
import { monotonicMicroseconds } from "../../../src/base/time.ts";
import { listenForNotifications } from "../../servers/notify-socket.ts";

function refuse(because: string): never {
  throw new Error(because);
}

async function tellAll(notifier: Notifier): Promise<void> {
  notifier.status("2 of 2 certificates are current");
  notifier.ready();
  notifier.watchdog();
  notifier.extendTimeout(90_000);
  notifier.reloading();
  notifier.ready();
  notifier.stopping();
  await notifier.flush();
}

test("a notifier tells a socket at a path everything, in order", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "notify-"));
  using socket = listenForNotifications(join(folder.path, "notify"));
  expect((await stat(socket.address)).isSocket()).toBe(true);
  const before = monotonicMicroseconds();

  await tellAll(openNotifier({ NOTIFY_SOCKET: socket.address }, refuse));

  const [status, ready, watchdog, extension, reloading, again, stopping, ...rest] = socket.received();
  expect([status, ready, watchdog]).toEqual(["STATUS=2 of 2 certificates are current", "READY=1", "WATCHDOG=1"]);
  expect(extension).toBe("EXTEND_TIMEOUT_USEC=90000000");
  expect([again, stopping, ...rest]).toEqual(["READY=1", "STOPPING=1"]);
  const [, time] = /^RELOADING=1\nMONOTONIC_USEC=(\d+)$/.exec(reloading ?? "") ?? [];
  expect(BigInt(time ?? -1)).toBeGreaterThanOrEqual(before);
  expect(BigInt(time ?? -1)).toBeLessThanOrEqual(monotonicMicroseconds());
});

test("a notifier tells an abstract socket", async () => {
  using socket = listenForNotifications(`@certagent-test-${process.pid}`);
  expect(await readFile("/proc/net/unix", "utf8")).toContain(` ${socket.address}\n`);
  const notifier = openNotifier({ NOTIFY_SOCKET: socket.address }, refuse);

  notifier.ready();
  await notifier.flush();

  expect(socket.received()).toEqual(["READY=1"]);
});

test("MONOTONIC_USEC is the kernel's monotonic clock, as systemd compares it to its own", () => {
  const { functions: libc } = dlopen(null, { clock_gettime: { arguments: ["i32", "buffer"], return: "i32" } });
  const CLOCK_MONOTONIC = 1;
  const timespec = Buffer.alloc(16);
  const kernel = (): bigint => {
    expect(libc.clock_gettime(CLOCK_MONOTONIC, timespec)).toBe(0);
    return timespec.readBigInt64LE(0) * 1_000_000n + timespec.readBigInt64LE(8) / 1000n;
  };

  const [before, told, after] = [kernel(), monotonicMicroseconds(), kernel()];

  expect(told).toBeGreaterThanOrEqual(before);
  expect(told).toBeLessThanOrEqual(after);
});

test("a status cannot smuggle in another word", async () => {
  using socket = listenForNotifications(`@certagent-forge-${process.pid}`);
  const notifier = openNotifier({ NOTIFY_SOCKET: socket.address }, refuse);

  notifier.status("fine\nMAINPID=1");
  await notifier.flush();

  expect(socket.received()).toEqual(["STATUS=fine MAINPID=1"]);
});

test("a manager whose queue is full for a while gets every message later, in order", async () => {
  using socket = listenForNotifications(`@certagent-full-${process.pid}`);
  const notifier = openNotifier({ NOTIFY_SOCKET: socket.address }, refuse);
  const said = Array.from({ length: 100 }, (_, index) => `STATUS=${index}`);
  const heard: string[] = [];

  for (const line of said) notifier.status(line.slice("STATUS=".length));

  await expect.poll(() => heard.push(...socket.received()) && heard.length).toBe(said.length);
  expect(heard).toEqual(said);
});

test.each(["/nowhere/notify", "@certagent-nobody", "vsock:2:1234", `/${"x".repeat(200)}`])(
  "a manager that cannot be told (%s) is a failure to report, not one to die of",
  async (address) => {
    const lost: string[] = [];
    const notifier = openNotifier({ NOTIFY_SOCKET: address }, (because) => lost.push(because));

    notifier.ready();
    notifier.watchdog();
    await notifier.flush();

    expect(lost).toEqual([expect.stringContaining(`${address}: `), expect.stringContaining(`${address}: `)]);
  },
);

test("without a service manager nothing is told, and nothing fails", async () => {
  await tellAll(openNotifier({}, refuse));
  await tellAll(openNotifier({ NOTIFY_SOCKET: "" }, refuse));
});

const socket = { NOTIFY_SOCKET: "/run/systemd/notify" };
test.each([
  [{ ...socket, WATCHDOG_USEC: "30000000" }, 15_000],
  [{ ...socket, WATCHDOG_USEC: "30000000", WATCHDOG_PID: String(process.pid) }, 15_000],
  [{ ...socket, WATCHDOG_USEC: "30000000", WATCHDOG_PID: "1" }, null],
  [{ ...socket, WATCHDOG_USEC: "0" }, null],
  [{ ...socket, WATCHDOG_USEC: "soon" }, null],
  [socket, null],
  [{ WATCHDOG_USEC: "30000000" }, null],
])("with %j signs of life are due every %j ms", (env, every) => {
  expect(openNotifier(env, refuse).watchdogEvery).toBe(every);
});
