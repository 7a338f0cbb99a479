// Uploads and downloads as actions/upload-artifact and actions/download-artifact do,
// with the same client, for workflows that run under act.
import { createRequire } from "node:module";
import { appendFileSync, readdirSync, statSync } from "node:fs";
import { join, resolve } from "node:path";

const require = createRequire(join(process.env.STAND_INS_PACKAGES, "/"));
const { DefaultArtifactClient } = require("@actions/artifact");
const client = new DefaultArtifactClient();
const where = resolve(process.env.GITHUB_WORKSPACE, process.env.WHERE);

if (process.argv[2] === "upload") {
  const files = readdirSync(where, { recursive: true })
    .map((name) => join(where, name))
    .filter((name) => statSync(name).isFile());
  if (files.length === 0) throw new Error(`no files in ${where}`);
  const { id } = await client.uploadArtifact(process.env.NAME, files, where, { compressionLevel: 0 });
  appendFileSync(process.env.GITHUB_OUTPUT, `artifact-id=${id}\n`);
  console.log(`artifact ${process.env.NAME} has id ${id}`);
} else {
  const id = Number(process.env.ID);
  // With a token, of any run, by GitHub's API; otherwise of this run, by the service.
  const [repositoryOwner, repositoryName] = process.env.GITHUB_REPOSITORY.split("/");
  const token = process.env.TOKEN;
  const of = token ? { findBy: { token, workflowRunId: Number(process.env.RUN), repositoryOwner, repositoryName } } : {};
  const { artifacts } = await client.listArtifacts({ latest: true, ...of });
  if (!artifacts.some((a) => a.id === id)) throw new Error(`no artifact ${process.env.ID}`);
  await client.downloadArtifact(id, { path: where, ...of });
}
