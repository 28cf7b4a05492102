/** The host's full name, in hosts that are set up in the ways that there are: beside what `hostname -f` says. */
import { execFile } from "node:child_process";
import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, test } from "vitest";
import { startNameServer } from "../../servers/dns.ts";

interface Setting {
  readonly hosts?: string;
  readonly resolver?: string;
  readonly nsswitch?: string;
}

interface Found {
  readonly fqdn: string;
  /** What `hostname -f` prints; "" where it fails. */
  readonly program: string;
  /** How often the loop came by while the facts were read. */
  readonly turns: number;
}

const FACTS = JSON.stringify(new URL("../../../src/spec/host-facts.ts", import.meta.url).href);
const SCRIPT = `
  import { execFileSync } from "node:child_process";
  import { readHostFacts } from ${FACTS};
  let turns = 0;
  const timer = setInterval(() => turns++, 20);
  const { fqdn } = await readHostFacts();
  clearInterval(timer);
  let program = "";
  if (process.argv[1] === "beside") {
    try { program = execFileSync("hostname", ["-f"], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim(); } catch {}
  }
  console.log(JSON.stringify({ fqdn, program, turns }));
  process.exit();`;

/** What is found on a host "vm1" with such files in /etc, which nobody else sees. */
async function find(setting: Setting, beside: "beside" | "alone" = "beside"): Promise<Found> {
  await using folder = await mkdtempDisposable(join(tmpdir(), "certagent-host-"));
  const files = {
    hosts: setting.hosts ?? "127.0.0.1 localhost",
    "resolv.conf": setting.resolver ?? "nameserver 127.255.255.254", // nobody listens there
    "nsswitch.conf": `hosts: ${setting.nsswitch ?? "files dns"}`,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder.path, name), `${text}\n`);
  const mounts = Object.keys(files).map((name) => `mount --bind ${folder.path}/${name} "$(realpath /etc/${name})"`);
  const shell = `${mounts.join(" && ")} && hostname vm1 && exec "$@"`;
  const node = [process.execPath, "--no-warnings", "--input-type=module", "--eval", SCRIPT, beside];
  const { stdout } = await promisify(execFile)("unshare", ["--mount", "--uts", "sh", "-c", shell, "sh", ...node]);
  return JSON.parse(stdout) as Found;
}

describe.concurrent("the full name is that of hostname -f", () => {
  test.each([
    ["a line in /etc/hosts that begins with it", "127.0.1.1 vm1.example.com vm1", "vm1.example.com"],
    ["a line in /etc/hosts with the short name alone", "127.0.1.1 vm1", "vm1"],
    ["two lines in /etc/hosts", "127.0.1.1 vm1.example.com vm1\n::1 vm1.other.example vm1", "vm1.example.com"],
    ["a line in /etc/hosts of IPv6", "::1 vm1.example.com vm1", "vm1.example.com"],
    ["capital letters", "127.0.1.1 VM1.Example.COM VM1", "vm1.example.com"],
  ])("with %s", async (_title, hosts, fqdn) => {
    const found = await find({ hosts });

    expect(found.fqdn).toBe(fqdn);
    expect(found.program.toLowerCase()).toBe(fqdn);
  });

  test("with a name server and a domain to search in", async () => {
    await using server = await startNameServer(["vm1.example.com"]);
    const found = await find({ resolver: `nameserver ${server.address}\nsearch corp.example example.com` });

    expect(found).toMatchObject({ fqdn: "vm1.example.com", program: "vm1.example.com" });
    expect(server.questions()).toBeGreaterThan(0);
  });

  test("with nobody that knows it, and then it is the short one", async () => {
    await using server = await startNameServer([]);

    expect(await find({ resolver: `nameserver ${server.address}\nsearch example.com` })).toMatchObject({
      fqdn: "vm1",
      program: "",
    });
    expect(await find({})).toMatchObject({ fqdn: "vm1", program: "" });
    expect(await find({ nsswitch: "no-such-module" })).toMatchObject({ fqdn: "vm1", program: "" });
  });
});

test("a name server that never answers holds up the start for a while, the loop never, and the end neither", async () => {
  await using server = await startNameServer([], { isSilent: true });

  const { fqdn, turns } = await find({ resolver: `nameserver ${server.address}\noptions timeout:30` }, "alone");

  expect(fqdn).toBe("vm1");
  expect(turns).toBeGreaterThan(20);
  expect(server.questions()).toBeGreaterThan(0);
});
