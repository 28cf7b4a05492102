import { expect, test } from "vitest";
import { createAddresses } from "../../../../src/issuers/step-ca/addresses.ts";
import type { Answer, NoAnswer } from "../../../../src/issuers/step-ca/http.ts";

const URLS = ["https://a", "https://b", "https://c"];

const noAnswer = (changes: Partial<Omit<NoAnswer, "status">>): NoAnswer => {
  return { cause: new Error("closed"), sent: true, begun: undefined, silent: false, alert: undefined, ...changes };
};
const answer = (status: number): Answer => ({ status, headers: new Map(), body: Buffer.alloc(0) });

test.each([
  ["took a request and never answered", noAnswer({}), ["https://b", "https://c", "https://a"]],
  ["is a proxy whose CA is away", answer(502), ["https://b", "https://c", "https://a"]],
  ["is a CA whose database fails", answer(500), ["https://b", "https://c", "https://a"]],
  ["was not reached", noAnswer({ sent: false }), URLS],
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
