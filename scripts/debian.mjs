/** The Debian packages that the tests need: the one list, and how they get onto a machine. Plain JavaScript, any Node. */
import { spawnSync } from "node:child_process";
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asRoot, SetupError, tell } from "./pinned-node.mjs";

/** Package → a file of it; `*` stands for one folder. A program from elsewhere is as good as Debian's. */
const TEST_PACKAGES = {
  acl: "/usr/bin/setfacl",
  "ca-certificates": "/etc/ssl/certs/ca-certificates.crt",
  "groff-base": "/usr/bin/groff",
  debootstrap: "/usr/sbin/debootstrap",
  e2fsprogs: "/usr/bin/chattr",
  libatomic1: "/usr/lib/*/libatomic.so.1",
  lintian: "/usr/bin/lintian",
  nginx: "/usr/sbin/nginx",
  openssl: "/usr/bin/openssl",
  postgresql: "/usr/lib/postgresql/*/bin/postgres",
  python3: "/usr/bin/python3",
  "redis-server": "/usr/bin/redis-server",
  rpm: "/usr/bin/rpm",
  strace: "/usr/bin/strace",
  "systemd-container": "/usr/bin/systemd-nspawn",
  systemd: "/usr/bin/systemd-analyze",
  "util-linux": "/usr/bin/flock",
};

/** Images of containers come without it. */
const LISTS = "/var/lib/apt/lists";
const POLICY = "/usr/sbin/policy-rc.d";
const POLICY_ASIDE = `${POLICY}.before-certagent-tests`;
/** invoke-rc.d asks this program before it starts anything; 101 forbids it. */
const POLICY_TEXT = "#!/bin/sh\n# put here by the tests of certagent while they install servers\nexit 101\n";

/** Installs what the tests need and is not there. Throws {@link SetupError} with the command where not root. */
export function installTestPackages() {
  const missing = Object.entries(TEST_PACKAGES).filter(([, file]) => !exists(file));
  installDebianPackages(missing.map(([name]) => name));
}

/**
 * Installs Debian packages without starting a service. Throws {@link SetupError}.
 * @param {readonly string[]} packages
 */
export function installDebianPackages(packages) {
  if (packages.length === 0) return;
  const command = `${asRoot()}apt-get install --no-install-recommends ${packages.join(" ")}`;
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) {
    throw new SetupError(`Debian packages are missing: ${packages.join(", ")}`, command);
  }
  tell(`installing Debian packages: ${packages.join(", ")}`);
  const installed = withoutStartingServices(() => aptGet(packages));
  if (!installed) throw new SetupError("cannot install Debian packages", command);
}

/** @param {readonly string[]} packages */
function aptGet(packages) {
  const install = ["install", "--yes", "--no-install-recommends", ...packages];
  const listsAreThere = existsSync(LISTS) && readdirSync(LISTS).some((name) => name.includes("_Packages"));
  // Old lists name versions that the mirror no longer has, so a failure is followed by an update and a second try.
  return (listsAreThere && apt(install)) || (apt(["update"]) && apt(install));
}

/** @param {readonly string[]} words */
function apt(words) {
  const { status, stdout, stderr } = spawnSync("apt-get", ["-qq", "-o", "DPkg::Lock::Timeout=120", ...words], {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "pipe", "pipe"],
    encoding: "utf8",
  });
  if (status !== 0) process.stderr.write(`${stdout}${stderr}`);
  return status === 0;
}

/**
 * Runs `act` while policy-rc.d forbids every start, then puts back what was there, after Ctrl-C too: a handler makes the
 * signal wait until the synchronous part has ended.
 * @template T
 * @param {() => T} act
 * @returns {T}
 */
function withoutStartingServices(act) {
  const end = () => process.exit(130);
  process.once("SIGINT", end).once("SIGTERM", end);
  const hadPolicy = existsSync(POLICY) && readFileSync(POLICY, "utf8") !== POLICY_TEXT;
  if (hadPolicy) renameSync(POLICY, POLICY_ASIDE);
  try {
    writeFileSync(POLICY, POLICY_TEXT);
    chmodSync(POLICY, 0o755);
    return act();
  } finally {
    rmSync(POLICY, { force: true });
    if (existsSync(POLICY_ASIDE)) renameSync(POLICY_ASIDE, POLICY);
    process.off("SIGINT", end).off("SIGTERM", end);
  }
}

/** @param {string} pattern */
function exists(pattern) {
  const [before = "", after] = pattern.split("*/");
  if (after === undefined) return existsSync(pattern);
  return existsSync(before) && readdirSync(before).some((name) => existsSync(join(before, name, after)));
}
