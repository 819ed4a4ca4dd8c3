// Portkey's gateway on all cores. It ships as one process that uses one core, and its documents
// scale it by replicas behind a load balancer; Node's own cluster is that on one machine: the
// connections are dealt out in turn, and no balancer's CPU is added.
import cluster from "node:cluster";

if (cluster.isPrimary) {
  for (let left = Number(process.env.WORKERS); left > 0; left -= 1) cluster.fork();
  cluster.on("exit", () => process.exit(1));
} else {
  await import("./node_modules/@portkey-ai/gateway/build/start-server.js");
}
