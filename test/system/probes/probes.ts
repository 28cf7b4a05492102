/**
 * What an intruder in the agent would try. Each probe throws where it is kept out, and ends well where it gets through.
 * Started by a machine's own Node, first as root without a sandbox, where every one has to get through, then as the
 * agent's unit. Prints one line of JSON: name → what came of it. Whatever could do harm outside the machine is called
 * with arguments that the kernel refuses after it has let the caller in.
 */
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  copyFileSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, createServer } from "node:net";
import { call, reaches } from "./kernel.ts";

const [, , victim = "", terminal = ""] = process.argv;
/** Its own folder, where it may do as it likes. */
const OWN = "/var/lib/certagent/agent/probe";

const NEW_USER = 0x1000_0000;
const NEW_MOUNTS = 0x2_0000;
const NEW_NETWORK = 0x4000_0000;

type Probe = () => unknown;

const PROBES: Readonly<Record<string, Probe>> = {
  // files
  "writes into /etc": () => writeAndRemove("/etc/probe"),
  "writes into /usr": () => writeAndRemove("/usr/lib/probe"),
  "changes certagent's own program": () => appendFileSync("/usr/lib/certagent/certagent.mjs", ""),
  "changes a spec": () => appendFileSync("/etc/certagent.d/web.yaml", ""),
  "adds a spec": () => writeAndRemove("/etc/certagent.d/probe.yaml"),
  "changes the pinned root": () => appendFileSync("/etc/certagent/root_ca.crt", ""),
  "writes another service's key": () => appendFileSync("/srv/other/key.pem", ""),
  "reads another service's key": () => readFileSync("/srv/other/key.pem"),
  "reads /etc/shadow": () => readFileSync("/etc/shadow"),
  "reads root's home": () => readFileSync("/root/secret"),
  "reads another user's home": () => readFileSync("/home/alice/secret"),
  "reads the root side's state": () => readdirSync("/var/lib/certagent/apply"),
  "writes into the root side's state": () => writeAndRemove("/var/lib/certagent/apply/probe"),
  "writes a report of the root side": () => writeAndRemove("/run/certagent/reports/probe.json"),
  "writes into what services read": () => writeAndRemove("/var/lib/certagent/live/probe"),
  "moves the state folder away": () => moveAndBack("/var/lib/certagent/agent", "/var/lib/certagent/moved"),
  "makes a file of its own run as its owner": () => own("setuid", (path) => chmodSync(path, 0o4755)),
  "gives a file of its own to root": () => own("given", (path) => chownSync(path, 0, 0)),
  "makes a device": () => own("device", (path) => (rmSync(path), call("mknodat", -100, path, 0o20600, 0x103))),
  // programs and processes
  "runs a program": () => runs("/usr/bin/true"),
  "runs a shell": () => runs("/bin/sh"),
  "runs a program of its own": () => own("program", runsCopy),
  "runs a program of its own among the requests": () => runsCopy("/run/certagent/requests/.probe"),
  "runs a program of its own beside its socket": () => runsCopy("/run/certagent/control/probe"),
  "runs a program of its own in /tmp": () => runsCopy("/tmp/probe"),
  "runs a program of its own in /var/tmp": () => runsCopy("/var/tmp/probe"),
  "runs a program of its own in shared memory": () => runsCopy("/dev/shm/probe"),
  "traces a process of root": () => call("ptrace", 0x4206, Number(victim), 0, 0),
  "reads the memory of a process of root": () =>
    reaches("EFAULT")(() => call("process_vm_readv", Number(victim), vector(), 1, vector(), 1, 0)),
  "reads the environment of a process of root": () => readFileSync(`/proc/${victim}/environ`),
  "sees the processes of others": () => readFileSync(`/proc/${victim}/cmdline`),
  "signals a process of root": () => process.kill(Number(victim), 0),
  "becomes root": () => (call("setresuid", 0, 0, 0), appendFileSync("/etc/hostname", "")),
  "allows itself core dumps": () => call("prlimit64", 0, 4, Buffer.alloc(16, 0xff), null),
  "takes priority": () => call("setpriority", 0, 0, -5),
  "changes its personality": () => call("personality", 0x004_0000),
  // namespaces and mounts
  "makes a user namespace": () => reaches("EINVAL")(() => call("unshare", NEW_USER)),
  "makes a mount namespace": () => call("unshare", NEW_MOUNTS),
  "makes a network namespace": () => call("unshare", NEW_NETWORK),
  "enters a namespace of process 1": () => reaches("EINVAL")(() => call("setns", openSync("/proc/1/ns/uts", "r"), 0)),
  "changes its root": () => call("chroot", "/"),
  mounts: () => reaches("ENOENT")(() => call("mount", "none", "/nowhere", "tmpfs", 0, null)),
  unmounts: () => reaches("ENOENT")(() => call("umount2", "/nowhere", 0)),
  // network and sockets
  "opens a raw socket": () => call("socket", 2, 3, 1),
  "opens a packet socket": () => call("socket", 17, 3, 0),
  "opens a netlink socket": () => call("socket", 16, 3, 0),
  "speaks to systemd": () => connects("/run/systemd/private"),
  "speaks to D-Bus": () => connects("/run/dbus/system_bus_socket"),
  "speaks to a container engine": () => connects("/run/docker.sock"),
  "serves on a port below 1024": () => listens(81),
  // the kernel
  "loads a module": () => reaches("ENOSYS", "ENOEXEC", "EFAULT", "EINVAL")(() => call("init_module", null, 0, "")),
  "loads a module from a file": () => reaches("ENOSYS", "EBADF", "EINVAL")(() => call("finit_module", -1, "", 0)),
  "unloads a module": () => reaches("ENOSYS", "ENOENT")(() => call("delete_module", "probe", 0o4000)),
  "loads another kernel": () => reaches("ENOSYS", "EINVAL")(() => call("kexec_load", 0, 99, null, 0xffff)),
  "restarts the machine": () => reaches("EINVAL")(() => call("reboot", 1, 2, 3)),
  "sets the clock": () => reaches("EINVAL")(() => call("clock_settime", 0, Buffer.alloc(16, 0xff))),
  "adjusts the clock": () => reaches("EINVAL")(() => call("adjtimex", nonsenseTimex())),
  "loads a BPF program": () => reaches("EINVAL")(() => call("bpf", 0, Buffer.alloc(72), 72)),
  "counts events of others": () =>
    reaches("EINVAL", "ESRCH", "ENOENT")(() => call("perf_event_open", Buffer.alloc(128), -1, 0, -1, 0)),
  "adds a key to the kernel's keyring": () => call("add_key", "user", "probe", Buffer.from("x"), 1, -3),
  "reads the kernel's log": () => call("syslog", 10, null, 0),
  "changes a parameter of the kernel": () => {
    const path = "/proc/sys/net/ipv4/ip_default_ttl";
    writeFileSync(path, readFileSync(path));
  },
  "makes a cgroup": () => {
    const parent = ["/sys/fs/cgroup/systemd", "/sys/fs/cgroup"].find((path) =>
      readdirSync(path).includes("cgroup.procs"),
    );
    mkdirSync(`${parent}/probe`);
    rmdirSync(`${parent}/probe`);
  },
  "names the host": () => call("sethostname", "vm", 2),
  "adds swap": () => reaches("ENOENT")(() => call("swapon", "/nowhere", 0)),
  "handles page faults itself": () => reaches("EINVAL")(() => call("userfaultfd", 0xffff_fff0)),
  "types into a terminal of root": () => call("ioctl", openSync(terminal, "r+"), 0x5412, "x"),
};

const outcomes: Record<string, string> = {};
for (const [name, probe] of Object.entries(PROBES)) {
  try {
    await probe();
    outcomes[name] = "through";
  } catch (error) {
    outcomes[name] = error instanceof Error ? error.message : String(error);
  }
}
rmSync(OWN, { recursive: true, force: true });
process.stdout.write(`${JSON.stringify(outcomes)}\n`);

function writeAndRemove(path: string): void {
  writeFileSync(path, "probe", { flag: "wx" });
  rmSync(path);
}

function moveAndBack(from: string, to: string): void {
  renameSync(from, to);
  renameSync(to, from);
}

/** `act` with the path of a fresh file of its own. */
function own(name: string, act: (path: string) => unknown): void {
  mkdirSync(OWN, { recursive: true });
  const path = `${OWN}/${name}`;
  writeFileSync(path, "");
  try {
    act(path);
  } finally {
    rmSync(path, { force: true });
  }
}

function runsCopy(path: string): void {
  copyFileSync("/usr/bin/true", path);
  try {
    chmodSync(path, 0o755);
    runs(path);
  } finally {
    rmSync(path);
  }
}

function runs(program: string): void {
  const { error, status } = spawnSync(program, ["-c", "exit 0"].slice(0, program.endsWith("sh") ? 2 : 0));
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`ended with ${status}`);
}

/** A `struct iovec` of eight bytes in the first page, where nothing is. */
function vector(): Uint8Array {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(8, 8);
  return bytes;
}

/** Modes that exist, and a tick that is no length of time: refused, but only after the capability was looked at. */
function nonsenseTimex(): Uint8Array {
  const timex = Buffer.alloc(208);
  timex.writeUInt32LE(0x4000, 0);
  return timex;
}

function connects(path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.destroy();
      resolve();
    });
    socket.once("error", reject);
  });
}

function listens(port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const server = createServer().once("error", reject);
    server.listen(port, "127.0.0.1", () => server.close(() => resolve()));
  });
}
