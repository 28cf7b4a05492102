import { Socket } from "node:net";
import { expect, test } from "vitest";
import { connect } from "../../../src/base/connect.ts";
import { AgentError } from "../../../src/base/errors.ts";
import type { RunResult } from "../../../src/base/run.ts";
import { HOUR, SECOND, systemClock } from "../../../src/base/time.ts";
import type { System } from "../../../src/core/ports.ts";
import { actOnUnit, changeUnit, systemdRuns, unitState } from "../../../src/services/unit.ts";
import { serviceOf, system } from "../../servers/service.ts";

const signal = new AbortController().signal;

type Answer = Partial<RunResult> | string;

/** A systemd that answers these in turn, the last one for ever; `show` answers as text, others as results. */
function answering(...answers: readonly Answer[]): { system: System; commands: string[] } {
  const commands: string[] = [];
  const run = async (argv: readonly string[]): Promise<RunResult> => {
    const answer = answers[Math.min(commands.length, answers.length - 1)] ?? "";
    commands.push(argv.filter((word) => !word.startsWith("-") && !word.includes(",")).join(" "));
    const result = { exitCode: 0, signal: null, timedOut: false, output: "" };
    return { ...result, ...(typeof answer === "string" ? { output: answer } : answer) };
  };
  return { system: { clock: systemClock, run, ask: run, connect }, commands };
}

function unit(active: string, sub: string, more: { load?: string; pid?: number } = {}): string {
  return `LoadState=${more.load ?? "loaded"}\nActiveState=${active}\nSubState=${sub}\nMainPID=${more.pid ?? 0}\n`;
}

const up = unit("active", "running", { pid: 812 });
const dead = unit("inactive", "dead");

test.for([
  [up, "up"],
  [unit("reloading", "reload", { pid: 1 }), "up"],
  [unit("active", "exited", { pid: 0 }), "unknown"],
  [dead, "down"],
  [unit("failed", "failed"), "down"],
  [unit("activating", "auto-restart"), "down"],
  [unit("inactive", "dead", { load: "masked" }), "down"],
  [unit("inactive", "dead", { load: "not-found" }), "absent"],
  [unit("active", "running", { load: "not-found", pid: 3 }), "up"],
  ["Failed to connect to bus: No such file or directory\n", "unknown"],
] as const)("a unit that says %j is %s", async ([output, liveness]) => {
  expect((await unitState(answering(output).system, "web.service", signal)).liveness).toBe(liveness);
});

const reload = { unit: "web.service", action: "reload", timeout: SECOND, settle: 0 } as const;

test("actOnUnit() looks, reloads, and looks once more", async () => {
  const { system, commands } = answering(up, {}, up);

  await actOnUnit(system, reload, {}, signal);

  expect(commands).toEqual([
    "systemctl show web.service",
    "systemctl reload web.service",
    "systemctl show web.service",
  ]);
});

test.each(["reload", "restart"] as const)(
  "actOnUnit() does not %s what an operator has stopped, or is just stopping, meanwhile",
  async (action) => {
    const stopped = answering(unit("deactivating", "stop"), dead);

    await expect(actOnUnit(stopped.system, { ...reload, action }, {}, signal)).rejects.toMatchObject({
      code: "SERVICE_DOWN",
      message: `Cannot ${action} web: it is inactive (dead)`,
    });

    expect(stopped.commands).toEqual(["systemctl show web.service", "systemctl show web.service"]);
  },
);

test("actOnUnit() tells a unit that has nothing to reload by, and what to write", async () => {
  const output = "Failed to reload redis.service: Job type reload is not applicable for unit redis.service.\n";

  await expect(actOnUnit(answering(up, { exitCode: 3, output }).system, reload, {}, signal)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: `Cannot reload web: "systemctl reload -- web.service" exited with 3: ${output.trim()}`,
    hint: "this unit has no ExecReload=; write action: restart where a restart may be afforded",
  });
});

test("actOnUnit() finds a unit that dies a moment after its reload ended well", async () => {
  const { system } = answering(up, {}, up, up, dead);

  await expect(actOnUnit(system, { ...reload, settle: 20 * SECOND }, {}, signal)).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: "Cannot reload web: the reload ended well, and then the unit was inactive (dead)",
    hint: expect.stringContaining("type: none"),
  });
});

test("actOnUnit() goes by how a unit is where somebody else's job has come in between", async () => {
  for (const output of ["Job for web.service canceled.\n", "web.service is not active, cannot reload.\n"]) {
    const between = { exitCode: 1, output };

    await expect(actOnUnit(answering(up, between, dead).system, reload, {}, signal)).rejects.toMatchObject({
      code: "SERVICE_DOWN",
    });
    await actOnUnit(answering(up, between, up).system, reload, {}, signal);
    const died = answering(up, between, unit("activating", "auto-restart"));
    await expect(actOnUnit(died.system, reload, {}, signal)).rejects.toMatchObject({ code: "RELOAD_FAILED" });
  }
});

test("actOnUnit() waits for the end of a restart by somebody else, as an upgrade makes one, and of no other", async () => {
  const [stopping, starting] = [unit("deactivating", "stop-sigterm"), unit("activating", "start-pre")];
  const again = answering(up, {}, stopping, starting, up);

  await actOnUnit(again.system, { ...reload, timeout: 20 * SECOND }, {}, signal);
  const ends = [dead, unit("failed", "failed"), unit("activating", "auto-restart")].map(async (end) => {
    const { system } = answering(up, {}, stopping, end);
    await expect(actOnUnit(system, { ...reload, timeout: 20 * SECOND }, {}, signal)).rejects.toThrow(
      "then the unit was",
    );
  });
  await Promise.all(ends);
  await expect(actOnUnit(answering(up, {}, stopping).system, reload, {}, signal)).rejects.toThrow("deactivating");

  expect(again.commands).toHaveLength(5);
});

test("actOnUnit() starts what a failed reload brought down, however often it was started before", async () => {
  const fallen = answering(dead, {}, {}, up);
  const standing = answering(up, {}, up);

  await actOnUnit(fallen.system, reload, { revive: true }, signal);
  await actOnUnit(standing.system, reload, { revive: true }, signal);

  expect(fallen.commands.slice(1, 3)).toEqual(["systemctl reset-failed web.service", "systemctl start web.service"]);
  expect(standing.commands[1]).toBe("systemctl reload web.service");
});

test("actOnUnit() has what still starts after its patience start anew: it may have read the files of before", async () => {
  const { system, commands } = answering(unit("activating", "start", { pid: 7 }));

  const going = actOnUnit(system, { ...reload, action: "restart", timeout: 1 }, { revive: true }, signal);

  await expect(going).rejects.toThrow("activating (start)");
  expect(commands).toContain("systemctl restart web.service");
});

test("actOnUnit() has a restart of its own refused by no limit on starts", async () => {
  const { system, commands } = answering(up, {}, {}, up);

  await actOnUnit(system, { ...reload, action: "restart" }, {}, signal);

  expect(commands.slice(1, 3)).toEqual(["systemctl reset-failed web.service", "systemctl restart web.service"]);
});

test("a unit on this very host: without systemd the error says what to write, with it the unit is not there", async () => {
  const nowhere = {
    ...reload,
    unit: "certagent-no-such.service",
    timeout: 10 * SECOND,
    instead: "give reload: a command",
  };

  const failure = changeUnit(system, nowhere, {}, signal);

  await expect(failure).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: expect.stringMatching(
      systemdRuns() ? /not found/ : /^Cannot reload certagent-no-such: systemd does not run on this host$/,
    ),
  });
  const service = serviceOf({ type: "systemd", unit: "certagent-no-such" });
  expect(await service.liveness(system, signal)).toBe(systemdRuns() ? "absent" : "unknown");
});

test("a kind with a command of its own does not take another unit of that name for it", async () => {
  const reload = ["/bin/true"];

  expect(await serviceOf({ type: "nginx", reload }).liveness(system, signal)).toBe("unknown");
  expect(await serviceOf({ type: "postgresql", reload }).liveness(system, signal)).toBe("unknown");
});

/** A connection to a service that listens only where this says so, asked one time after the other; the last for ever. */
function listeningBy(...answers: readonly boolean[]): Pick<System, "connect"> & { readonly looks: () => number } {
  let looks = 0;
  const connect: System["connect"] = async () => {
    if (answers[Math.min(looks++, answers.length - 1)]) return new Socket();
    throw new AgentError("SERVICE_DOWN", "Cannot connect");
  };
  return { connect, looks: () => looks };
}

const restart = { ...reload, action: "restart", place: { host: "127.0.0.1", port: 1 } } as const;

test("actOnUnit() finds a unit that dies of its files before it listens again", async () => {
  const { system } = answering(up, {}, {}, up, up, unit("failed", "failed"));

  const restarted = actOnUnit({ ...system, ...listeningBy(true, false) }, { ...restart, timeout: HOUR }, {}, signal);

  await expect(restarted).rejects.toMatchObject({
    code: "RELOAD_FAILED",
    message: "Cannot restart web: the restart ended well, and then the unit was failed (failed)",
  });
});

test("actOnUnit() waits for a unit that listened to do so again, and for no other", async () => {
  const [again, never, other] = [listeningBy(true, false, true), listeningBy(true, false), listeningBy(false)];
  const { system } = answering(up, {}, {}, up);

  await actOnUnit({ ...system, ...again }, { ...restart, timeout: HOUR }, {}, signal);
  await actOnUnit({ ...system, ...never }, { ...restart, timeout: SECOND / 2 }, {}, signal);
  await actOnUnit({ ...system, ...other }, { ...restart, timeout: HOUR }, {}, signal);

  expect(again.looks()).toBe(3);
  expect(other.looks()).toBe(1);
});
