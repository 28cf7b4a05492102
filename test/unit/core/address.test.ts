import { expect, test } from "vitest";
import { isAddress } from "../../../src/core/address.ts";

test.each([
  { host: "127.0.0.1", port: 1 },
  { host: "::1", port: 65_535 },
  { host: "fe80::1%eth0", port: 443 },
  { host: "db_1.internal", port: 5432 },
  { path: "/run/redis/redis.sock" },
])("%j can be connected to", (address) => {
  expect(isAddress(address)).toBe(true);
});

test.each([
  { host: "127.0.0.1", port: 0 },
  { host: "127.0.0.1", port: 65_536 },
  { host: "127.0.0.1", port: 1.5 },
  { host: "127.0.0.1", port: Number.POSITIVE_INFINITY },
  { host: "--state=/tmp/x", port: 443 },
  { host: "", port: 443 },
  { host: "a b", port: 443 },
  { host: "a\n", port: 443 },
  { host: "x".repeat(254), port: 443 },
  { path: "run/redis.sock" },
  { path: "/run/a\0b" },
  { path: `/${"x".repeat(107)}` },
])("%j is nothing that one could connect to", (address) => {
  expect(isAddress(address)).toBe(false);
});
