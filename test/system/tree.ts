/**
 * The file tree that test systems boot from: Debian with systemd and the servers of the contract, made once for a
 * version of this file and kept outside the checkout.
 */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { appendFile, chmod, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { appear } from "../../scripts/go-tools.ts";
import { cacheFolder } from "../servers/tools.ts";
import { execute, tell } from "./execute.ts";
import { withOverlay } from "./overlay.ts";

/** Debian 12 with systemd 252, Debian 13 with systemd 257. */
const SUITES = ["bookworm", "trixie"] as const;
export type Suite = (typeof SUITES)[number];

/** What the tests boot: the older one, or what `CERTAGENT_SYSTEM_SUITE` names. */
export function suiteAsked(): Suite {
  const asked = process.env.CERTAGENT_SYSTEM_SUITE ?? "bookworm";
  const suite = SUITES.find((known) => known === asked);
  if (suite === undefined) throw new Error(`CERTAGENT_SYSTEM_SUITE is none of ${SUITES.join(", ")}: "${asked}"`);
  return suite;
}

/** Nothing of certagent: its package is installed later, and brings what it depends on where that is not here. */
const PACKAGES = [
  "acl",
  "ca-certificates",
  "curl",
  "dbus",
  "init-system-helpers",
  "iproute2",
  "libatomic1",
  "libfaketime",
  "libstdc++6",
  "nginx-light",
  "openssl",
  "passwd",
  "perl",
  "postgresql",
  "procps",
  "prometheus-node-exporter",
  "redis-server",
  "systemd",
  "systemd-sysv",
];

/** Started by the tests that want them. */
const SERVERS = ["nginx", "postgresql", "prometheus-node-exporter", "redis-server"];

/** What has nothing to do in a test, and costs time at boot. */
const MASKED = [
  "apt-daily-upgrade.timer",
  "apt-daily.timer",
  "console-getty.service",
  "dpkg-db-backup.timer",
  "e2scrub_all.timer",
  "fstrim.timer",
  "getty@.service",
  "prometheus-node-exporter-apt.timer",
  "prometheus-node-exporter-nvme.timer",
  "prometheus-node-exporter-mdadm.timer",
  "systemd-timesyncd.service",
];

/** Answers the path of the tree. The first time on a machine it takes about a minute. */
export function baseTree(suite: Suite): Promise<string> {
  return cached(suite, (tree) => make(suite, tree));
}

/** The tree, and over it what further packages of Debian, without their recommendations, change in it. */
export async function treeWith(suite: Suite, packages: readonly string[]): Promise<readonly string[]> {
  const base = await baseTree(suite);
  const layer = await cached([suite, ...packages].join("-"), async (folder) => {
    tell(`adding ${packages.join(" ")} to a tree of ${suite}, once`);
    await withOverlay(folder, base, ADD, packages);
  });
  return [layer, base];
}

async function cached(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const recipe = await readFile(import.meta.filename);
  const digest = createHash("sha256").update(recipe).digest("hex").slice(0, 16);
  const folder = join(cacheFolder(), `system-${name}-${digest}`);
  if (existsSync(folder)) return folder;
  await mkdir(cacheFolder(), { recursive: true });
  await appear(folder, fill);
  await chmod(folder, 0o755);
  return folder;
}

/** Starts nothing of what it installs. */
const ADD = `
  cp /etc/resolv.conf "$TREE/etc/resolv.conf"
  printf '#!/bin/sh\\nexit 101\\n' > "$TREE/usr/sbin/policy-rc.d"
  chmod 755 "$TREE/usr/sbin/policy-rc.d"
  chroot "$TREE" apt-get --quiet update
  chroot "$TREE" apt-get --quiet --yes --no-install-recommends install "$@"
  chroot "$TREE" apt-get clean
  rm -r "$TREE/etc/resolv.conf" "$TREE/usr/sbin/policy-rc.d" "$TREE"/var/lib/apt/lists/*`;

async function make(suite: Suite, tree: string): Promise<void> {
  tell(`making a tree of ${suite} to boot from, once: one to two minutes`);
  await execute("debootstrap", ["--foreign", "--variant=minbase", `--include=${PACKAGES.join(",")}`, suite, tree]);
  await writeFile(join(tree, "usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n", { mode: 0o755 });
  tell("packages are there; configuring them");
  // Whatever an installation starts ends with it.
  await inside(tree, ["/debootstrap/debootstrap", "--second-stage"]);
  tell("tree is configured; tidying");
  for (const path of [
    "usr/sbin/policy-rc.d",
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "var/lib/apt/lists",
  ]) {
    await rm(join(tree, path), { recursive: true, force: true });
  }
  await inside(tree, ["apt-get", "clean"]);
  await inside(tree, ["systemctl", "--quiet", "disable", ...SERVERS]);
  await inside(tree, ["systemctl", "--quiet", "mask", ...MASKED]);
  // Names of the contract that Debian's packages do not bring.
  await inside(tree, ["useradd", "--system", "--no-create-home", "nginx"]);
  await mkdir(join(tree, "var/log/journal"), { recursive: true });
  await mkdir(join(tree, "etc/systemd/journald.conf.d"), { recursive: true });
  await writeFile(
    join(tree, "etc/systemd/journald.conf.d/test.conf"),
    "[Journal]\nStorage=persistent\nRateLimitIntervalSec=0\nSyncIntervalSec=1s\n",
  );
  await writeFile(join(tree, "etc/machine-id"), "c0ffeec0ffeec0ffeec0ffeec0ffee00\n");
  await appendFile(join(tree, "etc/hosts"), "127.0.0.1 localhost\n");
}

/** Runs a program with the tree as its root, in process, mount and network namespaces of its own. */
async function inside(tree: string, argv: readonly string[]): Promise<void> {
  const apart = ["--mount", "--net", "--pid", "--fork", "--kill-child"];
  await execute("unshare", [...apart, "chroot", tree, ...argv], {
    PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
    LANG: "C",
    DEBIAN_FRONTEND: "noninteractive",
  });
}
