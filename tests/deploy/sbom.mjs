// Is FILE a CycloneDX 1.5 document? Exit 1 and the reasons if not.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import addFormats from "ajv-formats";

const schemas = "node_modules/@cyclonedx/cyclonedx-library/res/schema/";
const schema = (name) => JSON.parse(readFileSync(`${schemas}${name}.SNAPSHOT.schema.json`, "utf8"));
const ajv = new Ajv.default({ strict: false, allErrors: true, validateFormats: true });
addFormats.default(ajv);
ajv.addFormat("iri-reference", true);
ajv.addFormat("idn-email", true);
for (const name of ["spdx", "jsf-0.82"])
  ajv.addSchema(schema(name), `http://cyclonedx.org/schema/${name}.SNAPSHOT.schema.json`);
const ok = ajv.validate(schema("bom-1.5"), JSON.parse(readFileSync(process.argv[2], "utf8")));
if (!ok) console.error(ajv.errorsText(ajv.errors, { separator: "\n" }));
process.exit(ok ? 0 : 1);
