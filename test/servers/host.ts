/**
 * A host of its own for a test, as far as that goes without booting one: this machine's programs, with its own /etc,
 * /var, /run, /root and processes, in which nothing is seen of the ones of this machine and nothing of it is left. It has
 * certagent as its package lays it out, `step`, and a `systemctl` that only notes what it is asked. Needs root.
 */
import { spawn } from "node:child_process";
import { mkdtempDisposable, readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { nodeFlags } from "../../scripts/pinned-node.mjs";
import { pause } from "../../src/base/time.ts";
import { bundled } from "./program.ts";
import { toolPath } from "./tools.ts";

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface Host extends AsyncDisposable {
  /** Runs a shell script on it, as root. */
  run(script: string): Promise<Ended>;
  /** {@link run} that throws where the script fails, and gives what it printed. */
  done(script: string): Promise<string>;
  /** Writes a file, and makes the folders that it lacks, as cloud-init does. */
  write(path: string, content: string, mode?: string): Promise<void>;
  /** Does what the package's installation does: the agent's user, and the folders. */
  install(): Promise<void>;
  /** What systemctl was asked, a line a call. */
  asked(): Promise<readonly string[]>;
}

const SYSTEMD = join(import.meta.dirname, "..", "..", "systemd");

/** Everything that it mounts goes away with its first process. */
const MOUNTS = `
  mount -t tmpfs -o mode=755 tmpfs "$1" && mkdir -p "$1"/etc "$1"/etc-work "$1"/var "$1"/var-work
  mount -t overlay -o lowerdir=/etc,upperdir="$1"/etc,workdir="$1"/etc-work overlay /etc
  mount -t overlay -o lowerdir=/var,upperdir="$1"/var,workdir="$1"/var-work overlay /var
  rm -rf /etc/certagent /etc/certagent.d /etc/nginx/conf.d/* /etc/nginx/sites-enabled/* /var/lib/certagent
  cp "$2" "$1"/certagent.mjs && touch "$1"/node && mount --bind "$3" "$1"/node
  mount -t tmpfs -o mode=755 tmpfs /usr/local && mkdir -p /usr/local/bin /usr/local/share/ca-certificates
  printf '#!/bin/sh\\nexec %s/node %s %s/certagent.mjs "$@"\\n' "$1" "$4" "$1" >/usr/local/bin/certagent
  printf '#!/bin/sh\\necho "$*" >>/run/systemctl.log\\n' >/usr/local/bin/systemctl
  touch /usr/local/bin/step && mount --bind "$5" /usr/local/bin/step
  cp -r "$6" "$1"/systemd
  chmod 755 /usr/local/bin/*
  mount -t tmpfs -o mode=755 tmpfs /run && mount -t tmpfs -o mode=700 tmpfs /root
  echo ready && exec sleep infinity`;

export async function startHost(): Promise<Host> {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-host-"));
  const flags = nodeFlags("once").join(" ");
  const files = [folder.path, await bundled(), process.execPath, flags, toolPath("step"), SYSTEMD];
  const unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];
  // A test that is ended by force must not leave hosts behind.
  const child = spawn("/usr/bin/setpriv", ["--pdeathsig=KILL", ...unshare, "sh", "-ec", MOUNTS, "sh", ...files], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  let log = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk: Buffer) => (log += chunk.toString()));
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()));
  while (!log.includes("ready\n")) {
    if (child.exitCode !== null) throw new Error(`no host could be made:\n${log}`);
    await pause(20);
  }
  const init = (await readFile(`/proc/${child.pid}/task/${child.pid}/children`, "utf8")).trim();
  const run = (script: string): Promise<Ended> => runIn(init, script);
  const done = async (script: string): Promise<string> => {
    const { code, stdout, stderr } = await run(script);
    if (code !== 0) throw new Error(`${script}\nended with ${code}:\n${stdout}${stderr}`);
    return stdout;
  };
  return {
    run,
    done,
    write: async (path, content, mode = "0644") => {
      const quoted = `'${content.replaceAll("'", "'\\''")}'`;
      await done(`mkdir -p "$(dirname ${path})" && printf %s ${quoted} >${path} && chmod ${mode} ${path}`);
    },
    install: async () => {
      await done(
        `systemd-sysusers ${folder.path}/systemd/sysusers.d/*.conf && systemd-tmpfiles --create ${folder.path}/systemd/tmpfiles.d/*.conf`,
      );
    },
    asked: async () => (await done("touch /run/systemctl.log; cat /run/systemctl.log")).split("\n").slice(0, -1),
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
      await folder.remove();
    },
  };
}

async function runIn(init: string, script: string): Promise<Ended> {
  const enter = ["--target", init, "--mount", "--pid", "sh", "-c", script];
  const env = { PATH: "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", HOME: "/root" };
  const child = spawn("nsenter", enter, { stdio: ["ignore", "pipe", "pipe"], env, cwd: "/" });
  const exit = new Promise<number | null>((resolve) => child.once("exit", (code) => resolve(code)));
  const [code, stdout, stderr] = await Promise.all([exit, text(child.stdout), text(child.stderr)]);
  return { code, stdout, stderr };
}
