import { fstatSync } from "node:fs";
import { isatty } from "node:tty";
import { directSink, type LogSink, streamSink, terminalSink } from "./log-sink.ts";
import { type Milliseconds, pause } from "./time.ts";

/** What is kept for a reader that is slow, in bytes. */
const LONGEST_BACKLOG = 256 * 1024;

/** Writes lines to a descriptor, and never waits for whoever reads it. */
export interface LineWriter {
  /** Takes a line without its line feed; what does not fit into the backlog is dropped, and counted. */
  write(line: string): void;
  /** Resolves when all lines are written, and at the latest after `limit`; what is left then is lost. */
  close(limit: Milliseconds): Promise<void>;
}

interface Entry {
  readonly bytes: Buffer;
  /** How many events are lost if this entry is: more than one for a note about dropped ones. */
  readonly stands: number;
}

/** A writer for whatever `descriptor` is: pipe, socket, terminal or file. `note` words the line about dropped ones. */
export function openLineWriter(descriptor: number, note: (dropped: number) => string): LineWriter {
  return lineWriter(sinkFor(descriptor), note);
}

function sinkFor(descriptor: number): LogSink {
  if (isatty(descriptor)) return terminalSink(descriptor);
  const found = fstatSync(descriptor);
  return found.isFIFO() || found.isSocket() ? streamSink(descriptor) : directSink(descriptor);
}

/**
 * Lines go to the sink one at a time, so that one is whole or not there at all. Where there is no room the newest are
 * dropped; one line stands for them as soon as half of the backlog is free again, where they would have stood.
 */
function lineWriter(sink: LogSink, note: (dropped: number) => string): LineWriter {
  const queue: Entry[] = [];
  let backlog = 0;
  let dropped = 0;
  let pumping = Promise.resolve();
  let isPumping = false;

  const add = (entry: Entry): void => {
    queue.push(entry);
    backlog += entry.bytes.length;
  };
  const addNote = (): void => {
    if (dropped === 0 || backlog > LONGEST_BACKLOG / 2) return;
    add({ bytes: Buffer.from(`${note(dropped)}\n`), stands: dropped });
    dropped = 0;
  };
  const pump = async (): Promise<void> => {
    isPumping = true;
    for (let entry = queue.shift(); entry !== undefined; entry = queue.shift()) {
      const answer = sink.take(entry.bytes);
      // A burst goes out at once while there is room for it: awaiting each line would fill the backlog first.
      const taken = typeof answer === "boolean" ? answer : await answer;
      backlog -= entry.bytes.length;
      if (taken) addNote();
      else dropped += entry.stands;
    }
    isPumping = false;
  };

  return {
    write: (line) => {
      addNote();
      const bytes = Buffer.from(`${line}\n`);
      if (dropped > 0 || backlog + bytes.length > LONGEST_BACKLOG) dropped += 1;
      else add({ bytes, stands: 1 });
      if (!isPumping) pumping = pump();
    },
    close: async (limit) => {
      const enough = new AbortController();
      await Promise.race([pumping, pause(limit, enough.signal)]);
      enough.abort();
      sink.close();
    },
  };
}
