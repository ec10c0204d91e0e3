// What Ajv, with its default options, says of each input. Usage: node validate.mjs SCHEMAS < inputs
// An input is a pair of a schema's name and the text of a value. Prints {warnings, errors}: null, or why it is refused.
import fs from "node:fs";
import path from "node:path";
import Ajv from "ajv/dist/2020.js";

const [directory] = process.argv.slice(2);
const warnings = [];
for (const kind of ["log", "warn", "error"]) console[kind] = (...words) => warnings.push(words.join(" "));

const ajv = new Ajv();
const validators = {};
for (const file of fs.readdirSync(directory).filter((name) => name.endsWith(".schema.json"))) {
  const schema = JSON.parse(fs.readFileSync(path.join(directory, file), "utf8"));
  validators[file.replace(".schema.json", "")] = ajv.compile(schema);
}
const errors = JSON.parse(fs.readFileSync(0, "utf8")).map(([name, text]) => {
  const validate = validators[name];
  return validate(JSON.parse(text)) ? null : ajv.errorsText(validate.errors);
});
process.stdout.write(JSON.stringify({ warnings, errors }));
