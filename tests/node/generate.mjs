// Makes TypeScript of the exported documents with the tools that adopters use. Usage: node generate.mjs EXPORT OUT
// Writes OUT/json2ts/SCHEMA.ts, one for each schema, and OUT/modelina.ts. Prints {diagnostics} of the AsyncAPI parser.
import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { TypeScriptGenerator } from "@asyncapi/modelina";
import { Parser, fromFile } from "@asyncapi/parser";
import { compile } from "json-schema-to-typescript";

const [directory, out] = process.argv.slice(2);
const document = path.join(directory, "asyncapi.yaml");

const { diagnostics } = await fromFile(new Parser(), document).parse();

const generator = new TypeScriptGenerator({
  modelType: "interface",
  enumType: "union",
  mapType: "record",
  rawPropertyNames: true,
});
const models = await generator.generate(pathToFileURL(path.resolve(document)).href);
fs.writeFileSync(path.join(out, "modelina.ts"), models.map((model) => `export ${model.result}\n`).join("\n"));

fs.mkdirSync(path.join(out, "json2ts"));
for (const file of fs.readdirSync(directory).filter((name) => name.endsWith(".schema.json"))) {
  const schema = JSON.parse(fs.readFileSync(path.join(directory, file), "utf8"));
  const name = file.replace(".schema.json", "");
  fs.writeFileSync(path.join(out, "json2ts", `${name}.ts`), await compile(schema, name));
}
process.stdout.write(JSON.stringify({ diagnostics }));
