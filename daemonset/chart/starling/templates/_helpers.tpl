{{/* Labels of every object. */}}
{{- define "starling.labels" -}}
app.kubernetes.io/name: starling
app.kubernetes.io/part-of: starling
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | quote }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Where a namespaced object is. */}}
{{- define "starling.namespace" -}}
{{ .Values.namespace.name }}
{{- end }}

{{- define "starling.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) }}
{{- end -}}
{{- end }}

{{/* The agents' settings; the DaemonSet carries their checksum. */}}
{{- define "starling.agent" -}}
# The settings of every agent. What differs between them comes from the
# environment: NODE_NAME, NODE_ZONE, POD_IP, POD_NAMESPACE.
cluster: {{ .Values.cluster }}
dataDir: /var/lib/starling
{{- if .Values.keys.secretName }}
# Certificates of one's own: agents don't certify each other.
keys: /etc/starling-keys
{{- end }}
{{- if .Values.authentications }}
# What triggers authenticate with, by namespace and name.
authentications: /etc/starling-authentications
{{- end }}
listen:
  # Between agents, TCP, mutual TLS.
  peer: 0.0.0.0:7400
  # Between agents, UDP, sealed.
  gossip: 0.0.0.0:7401
  # For users, gRPC, mutual TLS.
  api: 0.0.0.0:7402
  # For the kubelet and Prometheus, plain HTTP.
  health: 0.0.0.0:7403
# No more agents vote in the log: 1, 3, 5 or 7.
votersMax: {{ .Values.votersMax }}
# An agent that has been away for so long is no member any more; back, it joins anew.
forgetAfter: {{ .Values.forgetAfter }}
{{- if .Values.sources.networks }}
# Triggers ask in these networks alone.
sources:
  networks: {{ toJson .Values.sources.networks }}
{{- end }}
kubernetes:
  # The headless Service by which agents find each other.
  service: starling-peers
  # The ConfigMap that says which cluster this is. Agents make it; whoever does founds.
  clusterObject: starling-cluster
  # By this token an agent proves on which node it runs.
  token: /var/run/secrets/starling/token
  # Sizes come from ScalingPolicy objects.
  policies: true
  {{- if ne .Values.kedaNamespace "keda" }}
  # Where the Secrets of ClusterTriggerAuthentications are.
  kedaNamespace: {{ .Values.kedaNamespace }}
  {{- end }}
{{- end }}

{{/* What a schema can't say. */}}
{{- define "starling.guard" -}}
{{- if eq .Values.profile "restricted" -}}
{{- fail "profile: restricted isn't there yet, since agents keep their part of the log in a directory of their node. Use profile: full, in a namespace that admits hostPath volumes; with measure: kubelet it needs none of the node's /proc and /sys." -}}
{{- end -}}
{{- if ne (empty .Values.keys.secretName) (empty .Values.keys.gossipSecretName) -}}
{{- fail "keys.secretName and keys.gossipSecretName go together: agents that don't certify each other don't give each other the gossip key either. Set both, or neither." -}}
{{- end -}}
{{- if and .Values.gpu.enabled (dig "nodeAffinity" "" .Values.affinity) -}}
{{- fail "gpu.enabled tells nodes with GPUs from the others by node affinity, so affinity.nodeAffinity can't be set as well. Use nodeSelector, or leave gpu.enabled false." -}}
{{- end -}}
{{- end }}
