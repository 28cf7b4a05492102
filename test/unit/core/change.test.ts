import { expect, test } from "vitest";
import { changeOfRequest } from "../../../src/core/change.ts";
import type { CertificateRequest } from "../../../src/core/ports.ts";
import { request } from "./given.ts";

const dns = (value: string) => ({ type: "dns", value }) as const;

interface Row {
  readonly title: string;
  readonly old?: Partial<CertificateRequest>;
  readonly key?: string;
  readonly wanted: Partial<CertificateRequest>;
  readonly change: string | undefined;
}

const rows: readonly Row[] = [
  { title: "nothing", wanted: {}, change: undefined },
  {
    title: "another issuer",
    wanted: { issuer: "other" },
    change: "the spec's issuer changed from internal to other",
  },
  {
    title: "another subject",
    wanted: { subject: "www.internal" },
    change: "the spec's subject changed from web.internal to www.internal",
  },
  {
    title: "a name more",
    wanted: { names: [dns("web.internal"), dns("www.internal")] },
    change: "the spec's names changed from web.internal to web.internal, www.internal",
  },
  {
    title: "a name less",
    old: { names: [dns("web.internal"), dns("www.internal")] },
    wanted: {},
    change: "the spec's names changed from web.internal, www.internal to web.internal",
  },
  {
    title: "a name of another type with the same text",
    old: { names: [dns("10.0.0.1")] },
    wanted: { names: [{ type: "ip", value: "10.0.0.1" }] },
    change: "the spec's names changed from 10.0.0.1 to 10.0.0.1",
  },
  {
    title: "fewer usages",
    wanted: { usages: ["client"] },
    change: "the spec's usages changed to client",
  },
  { title: "a lifetime where there was none", wanted: { lifetime: 3_600_000 }, change: "the spec's lifetime changed" },
  { title: "no lifetime where there was one", old: { lifetime: 1 }, wanted: {}, change: "the spec's lifetime changed" },
  {
    title: "another key",
    key: "ec-p256",
    wanted: { key: "ec-p384" },
    change: "the spec's key changed from ec-p256 to ec-p384",
  },
  { title: "the key that is there, named now", key: "rsa-2048", wanted: { key: "rsa-2048" }, change: undefined },
  { title: "no key, while a key of another kind was adopted", key: "rsa-2048", wanted: {}, change: undefined },
  {
    title: "no key any more, after another than the default was named",
    old: { key: "rsa-2048" },
    key: "rsa-2048",
    wanted: {},
    change: "the spec's key changed from rsa-2048 to ec-p256",
  },
  { title: "no key any more, after the default was named", old: { key: "ec-p256" }, wanted: {}, change: undefined },
];

test.each(rows)("asking for $title is told as: $change", ({ old = {}, key = "ec-p256", wanted, change }) => {
  expect(changeOfRequest({ request: { ...request, ...old }, key }, { ...request, ...wanted })).toBe(change);
});
