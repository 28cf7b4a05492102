import { expect, test } from "vitest";
import { parseYaml } from "../../../src/spec/parse.ts";
import type { Source } from "../../../src/spec/source.ts";
import { FACTS } from "./world.ts";

function parse(text: string): Source {
  const result = parseYaml(Buffer.from(text), "web.yaml", FACTS);
  if (!("source" in result)) throw new Error(result.problems[0]?.message);
  return result.source;
}

test("every value and key knows its place, in blocks and in braces", () => {
  const source = parse(`# a comment
subject: web
outputs:
  - { format: key,   path: /a }
  - format: fullchain
    path: /b
`);

  expect(source.valueAt(["subject"])).toEqual({ line: 2, column: 10 });
  expect(source.keyAt(["subject"])).toEqual({ line: 2, column: 1 });
  expect(source.valueAt(["outputs"])).toEqual({ line: 4, column: 3 });
  expect(source.valueAt(["outputs", 0])).toEqual({ line: 4, column: 5 });
  expect(source.valueAt(["outputs", 0, "path"])).toEqual({ line: 4, column: 28 });
  expect(source.keyAt(["outputs", 1, "path"])).toEqual({ line: 6, column: 5 });
});

test("what is not there stands where the nearest value around it does, and an empty value where its key does", () => {
  const source = parse("subject:\nkey: { rotate: true }\n");

  expect(source.valueAt(["subject"])).toEqual({ line: 1, column: 1 });
  expect(source.valueAt(["key", "type"])).toEqual({ line: 2, column: 6 });
  expect(source.valueAt(["issuer"])).toEqual({ line: 1, column: 1 });
});

test("lines are counted after Windows line ends, and columns after a byte order mark", () => {
  const source = parse("\ufeffa: 1\r\nb: 2\r\n");

  expect(source.valueAt(["a"])).toEqual({ line: 1, column: 4 });
  expect(source.valueAt(["b"])).toEqual({ line: 2, column: 4 });
});

test("values are those of the YAML 1.2 core schema, but for octal numbers", () => {
  const { data } = parse("a: 0640\nb: yes\nc: 0o640\nd: ~\ne: 1.5\nf: true\ng: 0x10\nh: 2026-01-01\n");

  expect(data).toEqual(
    Object.assign(Object.create(null), {
      a: 640,
      b: "yes",
      c: "0o640",
      d: null,
      e: 1.5,
      f: true,
      g: 16,
      h: "2026-01-01",
    }),
  );
});

test("facts are replaced in values and nowhere else, and a name that looks like a number stays text", () => {
  const result = parseYaml(Buffer.from('a: "${hostname}"\nb: ["x ${fqdn}"]\n"${fqdn}": 1\n'), "web.yaml", {
    fqdn: "1.2",
    hostname: "1",
  });

  expect("source" in result && result.source.data).toEqual(
    Object.assign(Object.create(null), { a: "1", b: ["x 1.2"], "${fqdn}": 1 }),
  );
});

test("keys that every object has are only keys", () => {
  const { data } = parse("constructor: 1\n__proto__: { polluted: true }\ntoString: 2\n");

  expect(Object.keys(data as object)).toEqual(["constructor", "__proto__", "toString"]);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});
