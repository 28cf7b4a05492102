import { chmod, mkdtempDisposable, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { issuerOf } from "../../../integration/issuers/desk.ts";
import { makePki } from "../../../servers/pki.ts";

/** An issuer whose anchors were read so long ago that they are not read again while their file is the same. */
async function settled() {
  const folder = await mkdtempDisposable(join(tmpdir(), "certagent-anchors-"));
  const rootFile = join(folder.path, "root.crt");
  const pki = await makePki();
  await writeFile(rootFile, pki.root.certificate.pem, { mode: 0o644 });
  const issuer = issuerOf(
    { url: "https://ca.internal", rootFile, provisioner: { name: "x" } },
    { password: { file: join(folder.path, "password") } },
  );
  const isKept = async () => expect(await issuer.anchors([])).toBe(await issuer.anchors([]));
  await vi.waitFor(isKept, { timeout: 120_000, interval: 100 });
  return { rootFile, issuer, pki, [Symbol.asyncDispose]: () => folder.remove() };
}

test("anchors that are replaced in place are others at once", async () => {
  await using known = await settled();
  const next = (await makePki()).root.certificate;

  await writeFile(known.rootFile, next.pem);

  expect((await known.issuer.anchors([])).map(({ fingerprint }) => fingerprint)).toEqual([next.fingerprint]);
});

test("anchors that everybody may write from now on are refused at once", async () => {
  await using known = await settled();

  await chmod(known.rootFile, 0o646);

  await expect(known.issuer.anchors([])).rejects.toMatchObject({ code: "SPEC_INVALID" });
});

test.each([
  ["empty", async (file: string) => await writeFile(file, ""), "there is none in the text"],
  ["everybody's to write", async (file: string) => await chmod(file, 0o646), "everybody may write it"],
])("a file of anchors that is %s is told of with what puts it right", async (_, spoil, fact) => {
  await using known = await settled();
  await spoil(known.rootFile);

  await expect(known.issuer.anchors([])).rejects.toMatchObject({
    message: expect.stringContaining(fact),
    hint: `put the CA's root there anew, for root alone to write: step ca root ${known.rootFile} --force && chmod 0644 ${known.rootFile}`,
  });
});

test("anchors that cannot be reached are told of in certagent's words, with what shows why", async () => {
  await using known = await settled();
  const issuer = issuerOf(
    { url: "https://ca.internal", rootFile: `${known.rootFile}/below`, provisioner: { name: "x" } },
    { password: { file: "/nowhere" } },
  );

  await expect(issuer.anchors([])).rejects.toMatchObject({
    message: `Cannot use the trust anchors in "${known.rootFile}/below": a part of the path is not a folder`,
    hint: `namei -l ${known.rootFile}/below shows which`,
  });
});

test("anchors that are none are told of with what puts some there", async () => {
  await using known = await settled();

  await writeFile(known.rootFile, "<html>not found</html>");

  await expect(known.issuer.anchors([])).rejects.toMatchObject({
    message: `Cannot use the trust anchors in "${known.rootFile}": there is none in the text`,
    hint: `put the CA's root there anew, for root alone to write: step ca root ${known.rootFile} --force && chmod 0644 ${known.rootFile}`,
  });
});
