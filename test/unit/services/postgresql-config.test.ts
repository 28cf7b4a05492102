import { mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { clusterAddress } from "../../../src/services/postgresql-config.ts";
import { desiredIn } from "../../integration/apply/harness.ts";

test("a configuration that includes itself again and again, folders and devices too, ends", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  const lines = [
    `data_directory = '${data.path}'`,
    "ssl_cert_file = 'web.crt'",
    "include '/dev/zero'",
    ...Array<string>(2000).fill("include 'postgresql.conf'\ninclude_dir '.'"),
    "port = 6000",
  ];
  await writeFile(config, lines.join("\n"));

  const address = await clusterAddress(desiredIn(data.path).outputs, [config]);

  expect(address).toEqual({ host: "127.0.0.1", port: 6000 });
});

test("the last setting wins, included ones in their place", async () => {
  await using data = await mkdtempDisposable(join(tmpdir(), "certagent-postgresql-"));
  const config = join(data.path, "postgresql.conf");
  await writeFile(join(data.path, "more"), "port = 6001\nlisten_addresses = '127.0.0.2'\n");
  await writeFile(config, "port = 6000\nssl_cert_file = 'web.crt'\ninclude_if_exists 'more'\nport = 6002\n");

  expect(await clusterAddress(desiredIn(data.path).outputs, [config])).toEqual({ host: "127.0.0.2", port: 6002 });
});
