#!/bin/bash
# podman kube play: a pod as Kubernetes writes it.

begin_theme() {
    cat >pod.yaml <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {greeting: hello}
---
apiVersion: v1
kind: Pod
metadata: {name: web}
spec:
  restartPolicy: Never
  initContainers:
    - {name: first, image: localhost/box, command: [sh, -c, "echo prepared >/shared/index.html"], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
    - name: server
      image: localhost/box
      command: [httpd, -f, -p, "80", -h, /shared]
      volumeMounts: [{name: shared, mountPath: /shared}]
    - name: client
      image: localhost/box
      command: [sh, -c, "echo $GREETING; exec sleep 3600"]
      env: [{name: GREETING, valueFrom: {configMapKeyRef: {name: settings, key: greeting}}}]
      securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
  volumes: [{name: shared, emptyDir: {}}]
YAML
    podman kube play --quiet pod.yaml
}
end_theme() {
    podman kube down pod.yaml
    is "$(podman ps --all --quiet)" ''
}
tidy() { :; }

case_containers_share_a_volume_and_a_network() { is "$(podman exec web-client wget -q -O - http://127.0.0.1/)" prepared; }
case_environment_of_a_config_map() { is "$(podman logs web-client)" hello; }
case_security_context() {
    is "$(podman exec web-client id -u)" 1000
    is "$(podman exec web-client sed -n 's/^NoNewPrivs:\t//p' /proc/self/status)" 1
    is "$(podman exec web-client sed -n 's/^CapBnd:\t//p' /proc/self/status)" 0000000000000000
    exits 1 podman exec web-client touch /new
}
case_generate() { has "$(podman kube generate web)" 'kind: Pod'; }
