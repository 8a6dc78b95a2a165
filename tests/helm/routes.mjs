// Holds custom resources against the models of their projects. Reads an array of manifests from standard input; answers with an array
// of texts, empty where the manifest is right. Called by schemas.py; never looks at other kinds.
import { readFileSync } from "node:fs";

const homes = {
  "gateway.networking.k8s.io/v1": "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1",
  "monitoring.coreos.com/v1": "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1",
};

async function faults(manifest) {
  const home = homes[manifest.apiVersion];
  if (!home) return `no model for ${manifest.apiVersion}`;
  const Model = (await import(`${home}/${manifest.kind}`))[manifest.kind];
  try {
    new Model(manifest).validate();
    return "";
  } catch (error) {
    return error.message;
  }
}

const manifests = JSON.parse(readFileSync(0, "utf8"));
console.log(JSON.stringify(await Promise.all(manifests.map(faults))));
