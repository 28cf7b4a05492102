/**
 * No secret shows: not in the journal at its most talkative, in no argument or environment of any program that is run
 * (traced by the kernel, so that none is missed), in no file that others may read, and in no answer.
 */
import { chown, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Agent, type AgentSettings, certagent } from "../../servers/program.ts";
import { WAYS, type Way } from "../../servers/ways.ts";
import { isCurrent } from "../walk/look.ts";
import { FIVE, LONG, makeWorld, REDIS_PASSWORD, type World } from "../walk/world.ts";
import { type Evidence, hits, keysBelow, readableByOthers, type Secret, secretOf } from "./canary.ts";

const WRONG_PASSWORD = "wrong-canary-51c6e0aa-with-'quotes\"";

describe.each(Object.values<Way>(WAYS))("$name", (way) => {
  let world: World;
  /** Where the trace goes: not into a folder that is looked through. */
  let traces: string;
  let token: string;
  const outcomes: Evidence[] = [];
  const secrets: Secret[] = [];

  beforeAll(async () => {
    world = await makeWorld(LONG, way);
    traces = await mkdtemp(join(tmpdir(), "certagent-trace-"));
    const { provisioner } = world.ca;
    token = await world.ca.token("by-token.internal");
    secrets.push(
      secretOf("the provisioner's password", provisioner.password),
      secretOf("a wrong password", WRONG_PASSWORD),
      secretOf("the one-time token", token),
      secretOf("the token's signature", token.split(".")[2] ?? ""),
      secretOf("the provisioner's key", (JSON.parse(provisioner.jwk) as { d: string }).d),
      secretOf("the password of Redis", REDIS_PASSWORD),
    );
  });
  afterAll(async () => {
    await world[Symbol.asyncDispose]();
    await rm(traces, { recursive: true });
  });

  /** An agent of which every program that is started for it is on record, with arguments and environment. */
  async function startTraced(settings: AgentSettings = {}): Promise<Agent> {
    const trace = ["strace", "-D", "-ff", "--seccomp-bpf", "-v", "-s", "100000", "-e", "trace=execve"];
    return await world.start({ ...settings, through: [...trace, "-o", join(traces, "trace")] });
  }

  async function programsRun(): Promise<string> {
    const files = await readdir(traces);
    return (await Promise.all(files.map((file) => readFile(join(traces, file), "latin1")))).join("\n");
  }

  /** A spec of an issuer that has its secret in another way. */
  async function addIssuers(): Promise<void> {
    const { url, provisioner } = world.ca;
    const at = (name: string): string => join(dirname(world.passwordFile), name);
    const issuer = (secret: Record<string, unknown>) => {
      return {
        type: "step-ca",
        url,
        root: { file: world.rootFile },
        provisioner: { type: "jwk", name: provisioner.name, ...secret },
      };
    };
    const put = async (name: string, text: string): Promise<void> => {
      await writeFile(at(name), text, { mode: 0o600 });
      await chown(at(name), way.user, way.user);
    };
    await put("token", token);
    await put("jwk", provisioner.jwk);
    await put("wrong", WRONG_PASSWORD);
    const { issuers } = world.config() as { issuers: Record<string, unknown> };
    await world.home.configure({
      issuers: {
        ...issuers,
        "by-token": issuer({ token: { file: at("token"), delete_after_use: true } }),
        "by-key": issuer({ key: { file: at("jwk") } }),
        "by-wrong": issuer({ password: { file: at("wrong") } }),
      },
      default_issuer: "internal",
    });
    for (const name of ["by-token", "by-key", "by-wrong"]) {
      const outputs = `[{ format: combined, path: ${join(world.tls, `${name}.pem`)} }]`;
      await world.home.write(
        name,
        `issuer: ${name}\nsubject: ${name}.internal\nkey: { rotate: true }\noutputs: ${outputs}\n`,
      );
    }
  }

  async function run(...argv: readonly [string, ...string[]]): Promise<void> {
    const { stdout, stderr } = await certagent(world.home, ...argv, "--log-level", "debug");
    outcomes.push({ where: `certagent ${argv.join(" ")}`, text: stdout + stderr });
  }

  /** All that somebody else on this host could see of an agent. */
  async function evidenceOf(agent: Agent): Promise<readonly Evidence[]> {
    const proc = async (file: string): Promise<Evidence> => {
      return { where: file, text: await readFile(`/proc/${agent.pid}/${file}`, "latin1") };
    };
    const outputs = FIVE.flatMap((spec) => Object.values(world.paths[spec]));
    const folders = [world.home.folder, ...new Set(outputs.map((path) => dirname(path)))];
    const files = (await Promise.all(folders.map(readableByOthers))).flat();
    return [
      { where: "the journal", text: [...agent.journal(), ...world.journal()].join("\n") },
      { where: "the programs that were run", text: await programsRun() },
      await proc("cmdline"),
      await proc("environ"),
      // A server's own configuration is its own.
      ...files.filter(({ where }) => !where.endsWith(".conf")),
      ...outcomes,
    ];
  }

  async function allSecrets(): Promise<readonly Secret[]> {
    const folders = [world.home.folder, ...FIVE.map((name) => dirname(world.paths[name].key))];
    return [...secrets, ...(await Promise.all(folders.map(keysBelow))).flat()];
  }

  test("in a life with every kind of secret, right and wrong, none of them shows anywhere", async () => {
    await addIssuers();
    await world.givePassword();
    await using agent = await startTraced();
    await agent.until("all but one are current", (all) => [...all.values()].filter(isCurrent).length === all.size - 1);
    await run("renew", "--all");
    await writeFile(world.brokenReload, "");
    await run("renew", "vlc-admin");
    await rm(world.brokenReload);
    // Redis refuses the password, and says so.
    await writeFile(join(dirname(world.passwordFile), "redis-password"), `${WRONG_PASSWORD}\n`);
    await run("renew", "redis");
    await world.home.write("host", (await world.spec("host")).replace("lifetime", "lifetme"));
    for (const command of ["status", "plan", "check"] as const) await run(command, "--json");
    await run("status");
    expect((await agent.certificate("redis")).failure?.code).toBe("RELOAD_FAILED");
    expect((await agent.certificate("by-wrong")).failure?.message).toContain("password");

    const evidence = await evidenceOf(agent);
    const looked = await allSecrets();

    expect(looked.length).toBeGreaterThan(15);
    const programs = evidence.find(({ where }) => where === "the programs that were run")?.text;
    for (const program of ["nginx", "pg_ctl", "setfacl"])
      expect(programs).toMatch(new RegExp(`execve\\("[^"]*/${program}"`));
    expect(hits(looked, evidence)).toEqual([]);
  });

  test("the search would have found them: in an environment, an argument, a file, a line, an answer", async () => {
    const { password } = world.ca.provisioner;
    const leak = Buffer.from(`x${password}`).toString("base64url");
    const hex = Buffer.from(REDIS_PASSWORD).toString("hex");
    const key = await readFile(world.paths.host.key, "utf8");
    await writeFile(join(world.tls, "leak"), key.split("\n")[1] ?? "", { mode: 0o644 });
    await writeFile(join(dirname(world.passwordFile), "redis-password"), `${REDIS_PASSWORD}\n`);
    await world.home.write(
      "leaky",
      `issuer: by-key\nsubject: leaky.internal\noutputs: [{ format: combined, path: ${join(world.tls, "leaky.pem")} }]\n` +
        `services: [{ type: command, reload: [/bin/false, ${hex}] }]\n`,
    );
    await using agent = await startTraced({ env: { LEAK: leak } });
    await agent.until("it runs the leaky program", (all) => all.get("leaky")?.failure?.code === "RELOAD_FAILED");
    outcomes.length = 0;
    await run("plan", "--json");

    const found = new Set(hits(await allSecrets(), await evidenceOf(agent)));

    for (const leaked of [
      "the provisioner's password in environ",
      "the password of Redis in the programs that were run",
      "the password of Redis in the journal",
      `the key in ${world.paths.host.key} in ${join(world.tls, "leak")}`,
    ]) {
      expect(found).toContain(leaked);
    }
  });
});
