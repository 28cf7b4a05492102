/** Real programs that log into real pipes, sockets, files and terminals, read or not. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { mkdtempDisposable, open, readFile, writeFile } from "node:fs/promises";
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, test } from "vitest";

const SOURCES = new URL("../../../src/base/", import.meta.url);
const LINES = 20_000;

/** A program that logs 20,000 lines at once, says `full`, waits for a line of input, logs `last`, and ends. */
const CHATTY = `
  import { once } from "node:events";
  import { openLogger } from "${SOURCES.href}logger.ts";
  import { systemClock } from "${SOURCES.href}time.ts";
  const logger = openLogger({
    format: "auto", level: "info", descriptor: 2, isTerminal: false, colour: false, clock: systemClock,
  });
  for (let number = 0; number < ${LINES}; number++) logger.log.info("line", { number, padding: "x".repeat(80) });
  process.stdout.write("full\\n");
  await once(process.stdin, "data");
  logger.log.info("last");
  await logger[Symbol.asyncDispose]();
  process.exit(0);
`;

function chatty(stderr: number | "pipe"): ChildProcess {
  return spawn(process.execPath, ["--input-type=module", "-e", CHATTY], { stdio: ["pipe", "pipe", stderr] });
}

/** Both ends of a real FIFO; what `spawn` makes for "pipe" is a pair of sockets. */
function fifo(folder: string): { reader: Socket; writer: number } {
  const path = join(folder, "fifo");
  execFileSync("mkfifo", [path]);
  const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const writer = openSync(path, constants.O_WRONLY);
  return { reader: new Socket({ fd: reader, writable: false }), writer };
}

async function untilFull(child: ChildProcess): Promise<void> {
  const [said] = await once(child.stdout!, "data");
  expect(String(said)).toBe("full\n");
}

async function end(child: ChildProcess): Promise<number | null> {
  const ended = once(child, "exit");
  child.stdin!.end("go\n");
  const [code] = await ended;
  return code as number | null;
}

interface Account {
  kept: number;
  dropped: number;
  last: boolean;
}

/** Counts the lines until the one about dropped lines, which makes the program end, and then until `last`. */
async function account(lines: AsyncIterable<string>, child: ChildProcess): Promise<Account> {
  const counted: Account = { kept: 0, dropped: 0, last: false };
  for await (const line of lines) {
    const dropped = /^<4>lines of this log were dropped, as nobody read them dropped=(\d+)$/.exec(line)?.[1];
    if (dropped !== undefined) {
      counted.dropped += Number(dropped);
      child.stdin!.end("go\n");
    } else if (line === "<6>last") counted.last = true;
    else if (line === `<6>line number=${counted.kept} padding=${"x".repeat(80)}`) counted.kept++;
    else expect.fail(`a line that was not logged, or out of order: ${line}`);
  }
  return counted;
}

test("a pipe that nobody reads holds up neither the program nor its end", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "log-"));
  const { reader, writer } = fifo(folder.path);
  const child = chatty(writer);

  await untilFull(child);

  expect(await end(child)).toBe(0);
  closeSync(writer);
  reader.destroy();
});

test("a socket that nobody reads holds up neither the program nor its end", async () => {
  const child = chatty("pipe");

  await untilFull(child);

  expect(await end(child)).toBe(0);
});

test("a reader that comes late finds whole lines in order, how many were dropped, and what came after", async () => {
  const child = chatty("pipe");
  await untilFull(child);

  const { kept, dropped, last } = await account(createInterface({ input: child.stderr! }), child);

  expect(dropped).toBeGreaterThan(0);
  expect(kept).toBeGreaterThan(1000);
  expect(kept + dropped).toBe(LINES);
  expect(last).toBe(true);
});

test("a reader that goes away does not end the program", async () => {
  const child = chatty("pipe");
  child.stderr!.destroy();

  await untilFull(child);

  expect(await end(child)).toBe(0);
});

test("a file gets every line, after what stood in it", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "log-"));
  const path = join(folder.path, "log");
  await writeFile(path, "before\n");
  const file = await open(path, "a");
  const child = chatty(file.fd);

  await untilFull(child);
  expect(await end(child)).toBe(0);
  await file.close();

  const lines = (await readFile(path, "utf8")).split("\n");
  expect(lines).toHaveLength(LINES + 3);
  expect([lines[0], lines.at(-2)]).toEqual(["before", "<6>last"]);
});

test("a full disk does not end the program", async () => {
  const full = await open("/dev/full", "w");
  const child = chatty(full.fd);

  await untilFull(child);

  expect(await end(child)).toBe(0);
  await full.close();
});

test("a terminal that is stopped holds up neither the program nor its end", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "log-"));
  const [program, marker] = [join(folder.path, "chatty.mjs"), join(folder.path, "ended")];
  await writeFile(program, CHATTY);
  const { reader, writer } = fifo(folder.path);
  // `script` gives the program a terminal, and stops reading that as soon as nobody takes what it prints itself.
  const command = `${process.execPath} ${program} >/dev/null; echo $? >${marker}`;
  const terminal = spawn("script", ["-qec", command, "/dev/null"], { stdio: ["pipe", writer, "inherit"] });
  terminal.stdin!.write("go\n");

  await expect.poll(() => readFile(marker, "utf8").catch(() => "")).toBe("0\n");

  const ended = once(terminal, "exit");
  closeSync(writer);
  reader.resume();
  await ended;
});
