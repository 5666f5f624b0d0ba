{{- define "shoal.name" -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "shoal.labels" -}}
app.kubernetes.io/name: shoal
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- end -}}

{{- define "shoal.selector" -}}
app.kubernetes.io/name: shoal
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "shoal.image" -}}
{{ printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) | quote }}
{{- end -}}

{{- define "shoal.any" -}}
{{- if eq .Values.ipFamily "IPv4" -}}0.0.0.0{{- else -}}[::]{{- end -}}
{{- end -}}

{{- define "shoal.serviceFamily" -}}
{{- if eq .Values.ipFamily "DualStack" }}
ipFamilyPolicy: PreferDualStack
{{- else }}
ipFamilyPolicy: SingleStack
ipFamilies: [{{ .Values.ipFamily }}]
{{- end }}
{{- end -}}

{{/* The entries of `registries` as shoald reads them: files in place of Secrets. */}}
{{- define "shoal.registries" -}}
{{- $out := list -}}
{{- range $i, $r := .Values.registries -}}
{{- $dir := printf "/etc/shoal/registries/%d" $i -}}
{{- $entry := omit $r "dockerConfigSecret" "passwordSecret" "ca" -}}
{{- if $r.dockerConfigSecret -}}{{- $_ := set $entry "docker_config" (printf "%s/docker/config.json" $dir) -}}{{- end -}}
{{- if $r.passwordSecret -}}{{- $_ := set $entry "password_file" (printf "%s/password/password" $dir) -}}{{- end -}}
{{- if $r.ca -}}{{- $_ := set $entry "ca_file" (printf "%s/ca/ca.pem" $dir) -}}{{- end -}}
{{- $out = append $out $entry -}}
{{- end -}}
{{- toYaml $out -}}
{{- end -}}

{{/* shoal.yaml. Takes { root, zone, seed }. */}}
{{- define "shoal.config" -}}
{{- $v := .root.Values -}}
{{- $c := deepCopy $v.config -}}
{{- if .seed -}}{{- $c = mergeOverwrite $c (dict "mount" "tree") (deepCopy $v.seeds.config) -}}{{- end -}}
{{- $state := ternary "/var/lib/shoal" $v.hostPaths.state .seed -}}
{{- $own := dict "state_dir" $state
  "api" (dict "socket" "/run/shoal/api.sock")
  "http" (dict "listen" (printf "%s:%d" (include "shoal.any" .root) (int $v.ports.http))) -}}
{{- if and $v.keeper.enabled (not .seed) -}}
{{- $_ := set $own "keeper" (dict "socket" "/run/shoal/keeper.sock" "start" false) -}}
{{- end -}}
{{- if $v.registries -}}
{{- $_ := set $own "registries" (include "shoal.registries" .root | fromYamlArray) -}}
{{- end -}}
{{- if $v.peers.enabled -}}
{{- $peers := dict "listen" (printf "%s:%d" (include "shoal.any" .root) (int $v.ports.peers))
  "dns" (printf "%s-peers.%s.svc:%d" (include "shoal.name" .root) .root.Release.Namespace (int $v.ports.peers)) -}}
{{- if .zone -}}{{- $_ := set $peers "zone" .zone -}}{{- end -}}
{{- if eq $v.certificates.mode "none" -}}
{{- $_ := set $peers "insecure" true -}}
{{- else -}}
{{- $_ := set $peers "tls" (dict "ca" "/etc/shoal/tls/ca.pem" "cert" "/etc/shoal/tls/node.pem" "key" "/etc/shoal/tls/node.key") -}}
{{- end -}}
{{- $_ := set $own "peers" $peers -}}
{{- end -}}
{{- toYaml (mergeOverwrite $c $own) -}}
{{- end -}}

{{/* Volumes of certificates and registries' Secrets. Takes { root, seed }. Of what somebody else makes nothing is
required: without a Secret the kubelet would make no container, and who reads mounts would wait for the agent. */}}
{{- define "shoal.secretVolumes" -}}
{{- $v := .root.Values -}}
{{- range $i, $r := $v.registries }}
{{- if $r.dockerConfigSecret }}
- name: registry-{{ $i }}-docker
  secret: { secretName: {{ $r.dockerConfigSecret | quote }}, items: [{ key: .dockerconfigjson, path: config.json }], optional: true }
{{- end }}
{{- if $r.passwordSecret }}
- name: registry-{{ $i }}-password
  secret: { secretName: {{ $r.passwordSecret.name | quote }}, items: [{ key: {{ $r.passwordSecret.key | quote }}, path: password }], optional: true }
{{- end }}
{{- with $r.ca }}
- name: registry-{{ $i }}-ca
  {{- if .secret }}
  secret: { secretName: {{ .secret | quote }}, items: [{ key: {{ .key | quote }}, path: ca.pem }], optional: true }
  {{- else }}
  configMap: { name: {{ .configMap | quote }}, items: [{ key: {{ .key | quote }}, path: ca.pem }], optional: true }
  {{- end }}
{{- end }}
{{- end }}
{{- if $v.peers.enabled }}
{{- if eq $v.certificates.mode "pki" }}
- name: ca
  secret: { secretName: {{ $v.certificates.caSecret | quote }}, defaultMode: 256, optional: true }
- name: scratch
  emptyDir: { medium: Memory, sizeLimit: 1Mi }
{{- end }}
{{- if eq $v.certificates.mode "cert-manager" }}
- name: tls
  csi:
    driver: csi.cert-manager.io
    readOnly: true
    volumeAttributes:
      csi.cert-manager.io/issuer-name: {{ default (printf "%s-ca" (include "shoal.name" .root)) $v.certificates.issuer.name | quote }}
      csi.cert-manager.io/issuer-kind: {{ $v.certificates.issuer.kind | quote }}
      csi.cert-manager.io/issuer-group: {{ $v.certificates.issuer.group | quote }}
      csi.cert-manager.io/dns-names: ${POD_NAME}.${POD_NAMESPACE}
      csi.cert-manager.io/duration: {{ $v.certificates.duration | quote }}
      csi.cert-manager.io/key-usages: digital signature,server auth,client auth
      csi.cert-manager.io/key-algorithm: ECDSA
      csi.cert-manager.io/reuse-private-key: "true"
      csi.cert-manager.io/ca-file: ca.pem
      csi.cert-manager.io/certificate-file: node.pem
      csi.cert-manager.io/privatekey-file: node.key
{{- else if ne $v.certificates.mode "none" }}
{{- if not .seed }}
- name: tls
  hostPath: { path: {{ $v.hostPaths.pki | quote }}, type: DirectoryOrCreate }
{{- else if eq $v.certificates.mode "host" }}
{{- fail "certificates.mode host gives a certificate to nodes, not to seeds: use pki or cert-manager with seeds.enabled" }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "shoal.secretMounts" -}}
{{- $v := .root.Values -}}
{{- range $i, $r := $v.registries }}
{{- if $r.dockerConfigSecret }}
- { name: registry-{{ $i }}-docker, mountPath: /etc/shoal/registries/{{ $i }}/docker, readOnly: true }
{{- end }}
{{- if $r.passwordSecret }}
- { name: registry-{{ $i }}-password, mountPath: /etc/shoal/registries/{{ $i }}/password, readOnly: true }
{{- end }}
{{- if $r.ca }}
- { name: registry-{{ $i }}-ca, mountPath: /etc/shoal/registries/{{ $i }}/ca, readOnly: true }
{{- end }}
{{- end }}
{{- if and $v.peers.enabled (ne $v.certificates.mode "none") }}
{{- if and .seed (eq $v.certificates.mode "pki") }}
- { name: state, subPath: pki, mountPath: /etc/shoal/tls, readOnly: true }
{{- else }}
- { name: tls, mountPath: /etc/shoal/tls, readOnly: true }
{{- end }}
{{- end }}
{{- end -}}

{{/* The init container that makes the node's certificate. Takes { root, seed }. */}}
{{- define "shoal.certificateContainer" -}}
{{- if and .root.Values.peers.enabled (eq .root.Values.certificates.mode "pki") }}
- name: certificate
  image: {{ include "shoal.image" .root }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [/bin/sh, /scripts/certificate.sh, /ca, /tls, /scratch]
  env:
    - name: NODE_NAME
      valueFrom: { fieldRef: { fieldPath: {{ ternary "metadata.name" "spec.nodeName" .seed }} } }
  securityContext:
    allowPrivilegeEscalation: false
    readOnlyRootFilesystem: true
    capabilities: { drop: [ALL] }
    seccompProfile: { type: RuntimeDefault }
  resources: { requests: { cpu: 10m, memory: 16Mi }, limits: { memory: 64Mi } }
  volumeMounts:
    - { name: scripts, mountPath: /scripts, readOnly: true }
    - { name: ca, mountPath: /ca, readOnly: true }
    - { name: scratch, mountPath: /scratch }
    {{- if .seed }}
    - { name: state, subPath: pki, mountPath: /tls }
    {{- else }}
    - { name: tls, mountPath: /tls }
    {{- end }}
{{- end }}
{{- end -}}

{{- define "shoal.probes" -}}
startupProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /healthz, port: http }
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: { path: /readyz, port: http }
  periodSeconds: 5
  timeoutSeconds: 5
{{- end -}}

{{- define "shoal.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* "yes" where the state directory is below a directory that is mounted anyway. */}}
{{- define "shoal.stateIsWithin" -}}
{{- range .Values.hostPaths.mounts -}}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .)) $.Values.hostPaths.state -}}yes{{- end -}}
{{- end -}}
{{- end -}}
