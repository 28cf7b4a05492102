/** What is opened is closed, once, and never used after that: a number that was closed is another file's at once. */
import { readdirSync } from "node:fs";
import { rm } from "node:fs/promises";
import { expect, test } from "vitest";
import type { Files } from "../../../src/base/atomic-file.ts";
import type { OpenFile } from "../../../src/base/file-calls.ts";
import type { Desired } from "../../../src/core/ports.ts";
import { countFiles, errno } from "./faults.ts";
import { ASKED, makeHost, NAME, never, pairAt, type TestHost } from "./harness.ts";

interface Watched {
  readonly files: Files;
  /** The calls that were made with what was closed before. */
  readonly misused: readonly string[];
  /** How many are open. */
  open(): number;
}

const INSIDE = /^\/proc\/self\/fd\/(\d+)\//;

function watch(inner: Files): Watched {
  const opened = new Map<number, OpenFile>();
  const misused: string[] = [];
  const keep = (file: OpenFile): OpenFile => {
    opened.set(file.fd, file);
    const { close } = file;
    return Object.assign(file, {
      close: async () => {
        if (opened.get(file.fd) === file) opened.delete(file.fd);
        await close();
      },
    });
  };
  const isOpen = (value: unknown): boolean => {
    if (typeof value === "string") return INSIDE.exec(value)?.[1] === undefined || opened.has(insideOf(value));
    if (typeof value === "object" && value !== null && "close" in value) {
      const file = value as OpenFile;
      return opened.get(file.fd) === file;
    }
    return true;
  };
  const files = Object.fromEntries(
    Object.entries(inner).map(([call, act]) => {
      const watched = async (...values: never[]): Promise<unknown> => {
        if (!values.every(isOpen)) misused.push(call);
        const result = await (act as (...values: never[]) => Promise<unknown>)(...values);
        return call === "open" ? keep(result as OpenFile) : result;
      };
      return [call, watched];
    }),
  ) as unknown as Files;
  return { files, misused, open: () => opened.size };
}

function insideOf(path: string): number {
  return Number(INSIDE.exec(path)?.[1]);
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

async function applyFailingAt(host: TestHost, at: number, code: string): Promise<Watched & { reached: boolean }> {
  const counted = countFiles(at, errno(code), "all");
  const watched = watch(counted.files);
  const applier = await host.open(watched.files);
  await applier.apply(NAME, never).catch(() => {});
  await applier.observe([{ ...ASKED, generation: 1 }], never).catch(() => {});
  return { ...watched, reached: counted.count() >= at };
}

async function prepared(layout: Desired["layout"], before: Desired["layout"] | undefined): Promise<TestHost> {
  const host = await makeHost({ layout: before ?? layout }, { fast: true });
  await host.issue();
  if (before !== undefined) await (await host.open()).apply(NAME, never);
  host.desired = { ...host.desired, layout, digest: "2" };
  if (before !== undefined) await host.issue();
  return host;
}

const SCENES: readonly (readonly [Desired["layout"], Desired["layout"] | undefined])[] = [
  ["files", undefined],
  ["files", "files"],
  ["files", "link"],
  ["link", undefined],
  ["link", "link"],
  ["link", "files"],
];

test.each(SCENES)(
  "an apply that fails at any file call leaves nothing open and uses nothing that is closed: layout %s after %s",
  async (layout, before) => {
    await using warm = await prepared(layout, before);
    await applyFailingAt(warm, Number.POSITIVE_INFINITY, "EIO"); // what a process opens once, it keeps
    const open = descriptors();
    let at = 1;
    for (let isOver = false; !isOver; at++) {
      for (const code of ["EIO", "ENOENT"]) {
        await using host = await prepared(layout, before);
        const { misused, reached, open: left } = await applyFailingAt(host, at, code);

        expect({ at, code, misused, left: left(), descriptors: descriptors() }).toEqual({
          at,
          code,
          misused: [],
          left: 0,
          descriptors: open,
        });
        isOver = !reached;
      }
    }
    expect(at).toBeGreaterThan(40);
  },
);

test("hundreds of looks and applies over folders that come and go leave nothing open", async () => {
  await using host = await makeHost({}, { fast: true });
  await host.issue();
  const applier = await host.open();
  await applier.apply(NAME, never);
  const open = descriptors();
  for (let round = 0; round < 200; round++) {
    if (round % 2 === 0) await rm(round % 4 === 0 ? host.tls : host.path("web.key"), { recursive: true, force: true });
    await applier.observe([{ ...ASKED, generation: 1, afresh: true }], never);
    await applier.apply(NAME, never).catch(() => {});
  }
  expect(descriptors()).toBe(open);
  expect(pairAt(host)).toMatchObject({ key: expect.any(String) });
});
