// What is wrong with an Envoy configuration, by Envoy's own protobuf definitions (which gRPC's
// package carries): unknown fields, wrong types, two of a oneof, a missing one that is required.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { createRequire } from "node:module";
import protobuf from "protobufjs";

const folder = (name) => dirname(createRequire(import.meta.url).resolve(`${name}/package.json`));
const deps = ["envoy-api", "xds", "protoc-gen-validate", "googleapis"]
  .map((d) => join(folder("@grpc/grpc-js-xds"), "deps", d));
const root = new protobuf.Root();
root.resolvePath = (_, target) => [...deps, folder("protobufjs")]
  .map((d) => join(d, target)).find(existsSync) ?? target;
root.loadSync([
  "envoy/config/bootstrap/v3/bootstrap.proto",
  "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
  "envoy/extensions/filters/http/router/v3/router.proto",
  "envoy/extensions/retry/host/previous_hosts/v3/previous_hosts.proto",
  "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
], { keepCase: true }).resolveAll();

const integers = /^(u?int|s?fixed|sint)(32|64)$/;

/** A value of a scalar type, as JSON has it. */
function scalar(type, v) {
  if (type === "bool") return typeof v === "boolean";
  if (type === "string" || type === "bytes") return typeof v === "string";
  if (integers.test(type)) return Number.isInteger(v) && (!/^u|^fixed/.test(type) || v >= 0);
  return typeof v === "number";
}

/** Types that JSON writes in a way of their own; undefined for others. */
function special(name, v) {
  if (name === ".google.protobuf.Duration") return /^\d+(\.\d+)?s$/.test(v);
  const wrapped = /^\.google\.protobuf\.(\w+)Value$/.exec(name);
  return wrapped && name !== ".google.protobuf.Value" ? scalar(wrapped[1].toLowerCase(), v) : undefined;
}

function value(type, resolved, v, at, found) {
  if (resolved instanceof protobuf.Enum) {
    if (!(v in resolved.values)) found.push(`${at}: no ${v} in ${resolved.name}`);
  } else if (!resolved) {
    if (!scalar(type, v)) found.push(`${at}: ${JSON.stringify(v)} is no ${type}`);
  } else {
    const ok = special(resolved.fullName, v);
    if (ok === false) found.push(`${at}: ${JSON.stringify(v)} is no ${resolved.name}`);
    else if (ok === undefined) message(resolved, v, at, found);
  }
}

function message(type, object, at, found) {
  if (type.fullName === ".google.protobuf.Any") {
    const { "@type": url = "", ...rest } = object;
    const own = root.lookup(url.replace("type.googleapis.com/", ""), [protobuf.Type]);
    return own ? message(own, rest, at, found) : found.push(`${at}: no type ${url}`);
  }
  if (typeof object !== "object" || Array.isArray(object)) return found.push(`${at}: must be an object`);
  for (const [key, v] of Object.entries(object)) {
    const f = type.fields[key];
    if (!f) found.push(`${at}.${key}: unknown`);
    else if (f.map) for (const [k, x] of Object.entries(v)) value(f.type, f.resolvedType, x, `${at}.${key}.${k}`, found);
    else if (f.repeated !== Array.isArray(v)) found.push(`${at}.${key}: ${f.repeated ? "must be" : "is no"} list`);
    else for (const x of [v].flat()) value(f.type, f.resolvedType, x, `${at}.${key}`, found);
  }
  for (const o of type.oneofsArray) {
    const n = o.oneof.filter((name) => name in object).length;
    if (n > 1) found.push(`${at}: ${n} of ${o.oneof}`);
    if (n === 0 && o.options?.["(validate.required)"]) found.push(`${at}: one of ${o.oneof} is needed`);
  }
  for (const f of type.fieldsArray)
    if (!f.partOf && !(f.name in object) && Object.entries(f.options ?? {}).some(([k, v]) =>
      /validate\.rules\)\.(message\.required|string\.min_(len|bytes)|repeated\.min_items)$/.test(k) && v))
      found.push(`${at}: ${f.name} is needed`);
}

export function faults(config) {
  const found = [];
  message(root.lookupType("envoy.config.bootstrap.v3.Bootstrap"), config, "", found);
  return found;
}
