import { expect, test } from "vitest";
import { createAddresses } from "../../../../src/issuers/step-ca/addresses.ts";
import type { Answer, NoAnswer } from "../../../../src/issuers/step-ca/http.ts";

const URLS = ["https://a", "https://b", "https://c"];

const noAnswer = (changes: Partial<Omit<NoAnswer, "status">>): NoAnswer => {
  return { cause: new Error("closed"), sent: true, begun: undefined, silent: false, alert: undefined, ...changes };
};
const answer = (status: number, body = "{}"): Answer => ({ status, headers: new Map(), body: Buffer.from(body) });

test.each([
  ["took a request and never answered", noAnswer({}), ["https://b", "https://c", "https://a"]],
  ["is a proxy whose CA is away", answer(502), ["https://b", "https://c", "https://a"]],
  ["is a CA whose database fails", answer(500), ["https://b", "https://c", "https://a"]],
  ["redirects", answer(301, ""), ["https://b", "https://c", "https://a"]],
  ["has a page for everything", answer(200, "<html>"), ["https://b", "https://c", "https://a"]],
  ["lets nobody through", answer(403, "forbidden"), ["https://b", "https://c", "https://a"]],
  ["asks to be left alone", answer(429), ["https://b", "https://c", "https://a"]],
  ["was not reached", noAnswer({ sent: false }), ["https://b", "https://c", "https://a"]],
  ["refused a client certificate", noAnswer({ alert: 45 }), URLS],
  ["refused a request", answer(403), URLS],
])("where the first address %s, the next attempt begins with the right one", (_, outcome, order) => {
  const addresses = createAddresses(URLS);

  addresses.heard("https://a", outcome);

  expect(addresses.inOrder()).toEqual(order);
});

test("an address that answers again has its place again", () => {
  const addresses = createAddresses(URLS);
  for (const url of URLS.slice(0, 2)) addresses.heard(url, noAnswer({}));
  expect(addresses.inOrder()).toEqual(["https://c", "https://a", "https://b"]);

  addresses.heard("https://a", answer(201));

  expect(addresses.inOrder()).toEqual(["https://a", "https://c", "https://b"]);
});

test("an address is the best while every other one is no better", () => {
  const addresses = createAddresses(URLS);

  addresses.heard("https://a", answer(503));
  addresses.heard("https://b", answer(503));
  expect(addresses.hasBetterThan("https://b")).toBe(true);

  addresses.heard("https://c", answer(503));
  expect(addresses.hasBetterThan("https://c")).toBe(false);
});

test("an address whose answer was of no use comes last until it is heard of again", () => {
  const addresses = createAddresses(URLS);

  addresses.distrust("https://a");
  addresses.distrust("https://a");
  expect(addresses.inOrder()).toEqual(["https://b", "https://c", "https://a"]);

  addresses.heard("https://a", answer(201));
  expect(addresses.inOrder()).toEqual(URLS);
});
