// Which texts match each pattern. Usage: node patterns.mjs < [[[pattern, [start, ...]], ...], [character, ...]]
// Prints for each pattern {u, plain}: a 1 or 0 for each start with each character, with the flag u, as Ajv reads it, and without.
import fs from "node:fs";

const [asked, characters] = JSON.parse(fs.readFileSync(0, "utf8"));
const found = asked.map(([pattern, begun]) => {
  const texts = begun.flatMap((start) => characters.map((character) => start + character));
  const matching = (read) => texts.map((text) => Number(read.test(text))).join("");
  return { u: matching(new RegExp(pattern, "u")), plain: matching(new RegExp(pattern)) };
});
process.stdout.write(JSON.stringify(found));
