import { expect, test } from "vitest";
import { AgentError } from "../../../src/base/errors.ts";
import { type Channel, createPrint } from "../../../src/cli/print.ts";

interface Sink extends Channel {
  text: string;
}

function sink({ isTerminal = false, isColoured = false, columns = 80, rows = 24 } = {}): Sink {
  const channel: Sink = {
    text: "",
    isTerminal,
    isColoured,
    size: () => (isTerminal ? { columns, rows } : undefined),
    write: (more) => {
      channel.text += more;
    },
  };
  return channel;
}

test("results go to one channel, everything else to the other with its prefix", () => {
  const [out, err] = [sink(), sink()];
  const print = createPrint(out, err);

  print.line("web", ": current");
  print.note("no agent runs", "start it\nor do not");
  print.error(new AgentError("LOCKED", "Cannot start", { hint: "stop the other", cause: new Error("secret stack") }));

  expect(out.text).toBe("web: current\n");
  expect(err.text).toBe(
    [
      "certagent: no agent runs",
      "certagent: hint: start it",
      "certagent: hint: or do not",
      "certagent: Cannot start",
      "certagent: hint: stop the other",
      "",
    ].join("\n"),
  );
});

test("causes are shown when they are asked for, each with its own cause", () => {
  const err = sink();
  const cause = new Error("outer", { cause: new TypeError("inner") });

  createPrint(sink(), err, { showCauses: true }).error(new AgentError("BUG", "Broken", { cause }));

  expect(err.text).toMatch(/^certagent: Broken\ncertagent: cause: Error: outer\n(certagent: cause:.*\n)+$/);
  expect(err.text).toContain("certagent: cause: TypeError: inner\n");
});

test("what is no error of ours is told as a defect, in one line", () => {
  const err = sink();

  createPrint(sink(), err).error(new TypeError("x is not a function"));

  expect(err.text).toBe(
    "certagent: Unexpected failure: x is not a function\n" +
      "certagent: hint: this is a defect of certagent; --log-level debug shows where\n",
  );
});

test("the words of others cannot move the cursor, in no output", () => {
  const [out, err] = [sink({ isColoured: true }), sink()];
  const print = createPrint(out, err);
  const hostile = "a\x1b[2J\x9bb\u202e\rc\nd";

  print.line(hostile, { text: hostile, style: "red" });
  print.table([[hostile]]);
  print.note("x\x1b[2J", "y\u202e");

  const safe = "a\\x1b[2J\\x9bb\\u{202e}\\rc\\nd";
  expect(out.text).toBe(`${safe}\x1b[31m${safe}\x1b[0m\n${safe}\n`);
  expect(err.text).toBe("certagent: x\\x1b[2J\ncertagent: hint: y\\u{202e}\n");
});

test("a document holds the words of others as they are, in characters that do nothing", () => {
  const out = sink();
  const print = createPrint(out, sink());
  const document = { because: "a\x9b2J\u202eb\nc" };

  print.json(document);
  print.jsonLine(document);

  expect(out.text).toBe(
    String.raw`{
  "because": "a\u009b2J\u202eb\nc"
}
{"because":"a\u009b2J\u202eb\nc"}
`,
  );
});

test("colour is for channels that have it", () => {
  const [plain, coloured] = [sink(), sink({ isColoured: true })];

  for (const out of [plain, coloured]) createPrint(out, sink()).line({ text: "failing", style: "red" });

  expect(plain.text).toBe("failing\n");
  expect(coloured.text).toBe("\x1b[31mfailing\x1b[0m\n");
});

test("columns are as wide as what stands in them, whatever its colour", () => {
  const out = sink({ isColoured: true });

  createPrint(out, sink()).table([["NAME", "STATE"], ["postgres", { text: "failing", style: "red" }, "x"], ["w"]]);

  expect(out.text).toBe("NAME      STATE\npostgres  \x1b[31mfailing\x1b[0m  x\nw\n");
});

test("a page fills no more than the screen, and leaves nothing of the one before", () => {
  const out = sink({ isTerminal: true, isColoured: true, columns: 10, rows: 4 });
  const print = createPrint(out, sink());

  print.redraw((page) => {
    page.line({ text: "0123456", style: "bold" }, "789 and more");
    for (const line of ["b", "c", "d", "e"]) page.line(line);
  });

  expect(out.text).toBe("\x1b[H\x1b[1m0123456\x1b[0m789\x1b[K\nb\x1b[K\nc\x1b[K\n\x1b[J");
});

test("documents are JSON: for people to read, or one a line", () => {
  const out = sink();
  const print = createPrint(out, sink());

  print.json({ a: ["b"] });
  print.jsonLine({ a: ["b"] });

  expect(out.text).toBe('{\n  "a": [\n    "b"\n  ]\n}\n{"a":["b"]}\n');
});
