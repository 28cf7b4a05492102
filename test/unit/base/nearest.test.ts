import { expect, test } from "vitest";
import { nearest } from "../../../src/base/nearest.ts";

const COMMANDS = ["run", "once", "check", "plan", "status", "renew", "schema"];

test.each([
  ["stauts", "status"],
  ["statu", "status"],
  ["STATUS", "status"],
  ["rnu", "run"],
  ["renw", "renew"],
  ["chekc", "check"],
  ["scheme", "schema"],
])("nearest() takes %j for %j", (word, meant) => {
  expect(nearest(word, COMMANDS)).toBe(meant);
});

test.each(["", "x", "install", "xyzxyz", "statusstatusstatus"])("nearest() finds nothing near %j", (word) => {
  expect(nearest(word, COMMANDS)).toBeUndefined();
});

test("nearest() takes the first of two that are equally near", () => {
  expect(nearest("paln", ["plan", "pale"])).toBe("plan");
});
