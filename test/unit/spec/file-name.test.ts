import { expect, test } from "vitest";
import { isMisnamed, specNameOf } from "../../../src/spec/file-name.ts";

const longest = "n".repeat(200);

test.each([
  ["web.yaml", "web"],
  ["web-1.example_com.yaml", "web-1.example_com"],
  [`${longest}.yaml`, longest],
])("%s holds the spec of its name", (file, name) => {
  expect(specNameOf(file)).toBe(name);
});

test.each(["web.yml", "my web.yaml", `${longest}n.yaml`])("%s has the wrong name for a spec", (file) => {
  expect(isMisnamed(file)).toBe(true);
});

test.each([".web.yaml", "web.yaml~", "web.yaml.bak", "web.yaml.dpkg-old", "README"])("%s is passed over", (file) => {
  expect([specNameOf(file), isMisnamed(file)]).toEqual([undefined, false]);
});
