// Builds the console into the package: one script and one style with hashed names, the page that names them, the licenses of all
// that is bundled, and a manifest with the hash of the sources, by which a test tells whether what is committed is up to date.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const OUT = "../src/novamesh/edge/console/built";
const ROOT_SOURCES = ["build.mjs", "package-lock.json", "package.json", "tsconfig.json"];

const sha256 = (data) => createHash("sha256").update(data).digest("hex");

/** Every file that the result depends on, by path, sorted. */
function sources() {
  return [...ROOT_SOURCES, ...readdirSync("src").map((name) => `src/${name}`)].sort();
}

/** The hash of the sources: of a line for each, with its hash and its path. */
function sourcesHash() {
  return sha256(
    sources()
      .map((path) => `${sha256(readFileSync(path))}  ${path}\n`)
      .join(""),
  );
}

/** The license of each bundled package. */
function licenses(inputs) {
  const packages = new Set();
  for (const path of Object.keys(inputs)) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path);
    if (found) packages.add(found[1]);
  }
  return [...packages].sort().map((name) => {
    const folder = join("node_modules", name);
    const { version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    if (!file) throw new Error(`${name} has no license file`);
    return `${name} ${version} (${license})\n\n${readFileSync(join(folder, file), "utf8").trim()}\n`;
  });
}

const result = await build({
  entryPoints: ["src/main.ts"],
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2022"],
  charset: "utf8",
  legalComments: "none", // LICENSES.txt has them whole
  metafile: true,
  write: false,
  outdir: "out",
});

const files = {};
for (const { path, contents } of result.outputFiles) {
  const kind = path.endsWith(".css") ? "css" : "js";
  files[`console-${sha256(contents).slice(0, 12)}.${kind}`] = contents;
}
const named = (kind) => Object.keys(files).find((name) => name.endsWith(kind));
const page = readFileSync("src/index.html", "utf8")
  .replace("{{style}}", named(".css"))
  .replace("{{script}}", named(".js"));
files["index.html"] = page;
files["LICENSES.txt"] =
  "The console bundles these packages.\n\n" + licenses(result.metafile.inputs).join(`\n${"-".repeat(80)}\n\n`);
files["manifest.json"] = JSON.stringify({ sources: sourcesHash(), files: Object.keys(files).sort() }, null, 2) + "\n";

rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT, { recursive: true });
for (const [name, content] of Object.entries(files)) {
  writeFileSync(join(OUT, name), content);
  console.log(`${name} ${Buffer.byteLength(content)}`);
}
