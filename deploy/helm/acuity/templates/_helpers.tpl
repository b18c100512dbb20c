{{- define "acuity.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "acuity.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "acuity.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "acuity.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "acuity.selectorLabels" -}}
app.kubernetes.io/name: {{ include "acuity.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "acuity.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "acuity.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "acuity.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "acuity.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "acuity.image" -}}
{{- $gpu := ne (int .Values.gpu.count) 0 }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else if .Values.image.tag }}
{{- printf "%s:%s" .Values.image.repository .Values.image.tag }}
{{- else }}
{{- printf "%s:%s%s" .Values.image.repository .Chart.AppVersion (ternary "-cuda" "" $gpu) }}
{{- end }}
{{- end }}

{{/* The service by which pods find each other, and by which Prometheus finds them. */}}
{{- define "acuity.nodes" -}}
{{- printf "%s-nodes" (include "acuity.fullname" .) }}
{{- end }}

{{/* [models] with the store and this directory. */}}
{{- define "acuity.modelsSection" -}}
{{- $root := index . 0 }}
{{- with $root.Values.models.store -}}
[models]
directory = {{ index $ 1 | quote }}

[models.store]
url = {{ .url | quote }}
{{- with .endpoint }}
endpoint = {{ . | quote }}
{{- end }}
region = {{ .region | quote }}
access_key_file = {{ printf "/etc/acuity-secrets/%s/id" .secret | quote }}
secret_key_file = {{ printf "/etc/acuity-secrets/%s/key" .secret | quote }}
channel = {{ .channel | quote }}
{{- with .pin }}
pin = {{ . | quote }}
{{- end }}
{{- with .settings }}
{{ tpl . $root }}
{{- end }}
{{- end }}
{{- end }}

{{- define "acuity.config" -}}
{{- tpl .Values.config . }}
{{- if .Values.models.store.url }}

{{ include "acuity.modelsSection" (list . "/var/lib/acuity/models") }}
{{- end }}
{{- with .Values.nodes }}
{{- if .enabled }}
{{- $port := int .port }}

[nodes]
listen = {{ printf "%s:%d" (ternary (printf "[%s]" .address) .address (contains ":" .address)) $port | quote }}
members = [{{ printf "%s.%s.svc:%d" (include "acuity.nodes" $) $.Release.Namespace $port | quote }}]
discover = true
secret_file = {{ printf "/etc/acuity-secrets/%s/%s" .secret .secretKey | quote }}
{{- with .settings }}
{{ tpl . $ }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.workers.pool }}
{{- if .enabled }}

[workers]
remote = [{{ printf "https://%s.%s.svc:%d" (include "acuity.workers" $) $.Release.Namespace (int .port) | quote }}]
{{- with $.Values.workers.settings }}
{{ tpl . $ }}
{{- end }}

[workers.tls]
authority = {{ printf "/etc/acuity-secrets/%s/ca.crt" .edgeSecret | quote }}
certificate = {{ printf "/etc/acuity-secrets/%s/tls.crt" .edgeSecret | quote }}
key = {{ printf "/etc/acuity-secrets/%s/tls.key" .edgeSecret | quote }}
{{- if .revokedKey }}
revoked = {{ printf "/etc/acuity-secrets/%s/%s" .edgeSecret .revokedKey | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* The pool of workers: its service and everything else that is its own. Its pods have another name, so that nothing of the edges selects them. */}}
{{- define "acuity.workers" -}}
{{- printf "%s-workers" (include "acuity.fullname" .) }}
{{- end }}

{{- define "acuity.workerSelectorLabels" -}}
app.kubernetes.io/name: {{ printf "%s-worker" (include "acuity.name" .) | trunc 63 }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "acuity.workerLabels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "acuity.workerSelectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end }}

{{- define "acuity.workerConfig" -}}
{{- with .Values.workers.pool }}
{{- tpl .config $ }}
{{- if $.Values.models.store.url }}

{{ include "acuity.modelsSection" (list $ "/var/lib/acuity-models/kept") }}
{{- end }}

[workers.listen]
address = {{ printf "%s:%d" "0.0.0.0" (int .port) | quote }}
admin = {{ printf "%s:%d" "0.0.0.0" (int .adminPort) | quote }}
certificate = "/etc/acuity-secrets/worker/tls.crt"
key = "/etc/acuity-secrets/worker/tls.key"
client_authority = "/etc/acuity-secrets/worker/ca.crt"
{{- with .permitted }}
permitted = {{ . | toJson }}
{{- end }}
{{- with .revokedKey }}
revoked = {{ printf "/etc/acuity-secrets/worker/%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Names of the Secrets to be mounted, each once. */}}
{{- define "acuity.secrets" -}}
{{- $names := list }}
{{- range .Values.secrets }}
{{- $names = append $names .name }}
{{- end }}
{{- if .Values.nodes.enabled }}
{{- $names = append $names .Values.nodes.secret }}
{{- end }}
{{- if .Values.models.store.url }}
{{- $names = append $names .Values.models.store.secret }}
{{- end }}
{{- if .Values.workers.pool.enabled }}
{{- $names = append $names .Values.workers.pool.edgeSecret }}
{{- end }}
{{- $names | uniq | toJson }}
{{- end }}

{{/* How quickly an autoscaler follows: up at once, by half or two; down by one in five minutes. */}}
{{- define "acuity.scaling" -}}
scaleUp:
  stabilizationWindowSeconds: 0
  policies:
    - { type: Percent, value: 50, periodSeconds: 60 }
    - { type: Pods, value: 2, periodSeconds: 60 }
  selectPolicy: Max
scaleDown:
  stabilizationWindowSeconds: {{ .scaleDownStabilizationSeconds }}
  policies:
    - { type: Pods, value: 1, periodSeconds: 300 }
{{- end }}

{{- define "acuity.storageMounts" -}}
- { name: storage, mountPath: /var/cache/acuity, subPath: cache }
- { name: storage, mountPath: /var/lib/acuity, subPath: state }
{{- end }}

{{/* What a schema cannot say, because it is about two values at a time. */}}
{{- define "acuity.check" -}}
{{- $config := include "acuity.config" . }}
{{- $card := regexMatch "(?m)^\\s*provider\\s*=\\s*\"(cuda|tensorrt)\"" $config }}
{{- if and (ne (int .Values.gpu.count) 0) (not $card) }}
{{- fail "gpu.count is not 0, but the configuration has no provider = \"cuda\" or \"tensorrt\" in [enhancer]: the card would do nothing" }}
{{- end }}
{{- if and $card (eq (int .Values.gpu.count) 0) }}
{{- fail "the configuration asks for a card, and gpu.count is 0: no pod would start" }}
{{- end }}
{{- if not (regexMatch (printf "(?m)^\\s*listen\\s*=.*:%d\"" (int .Values.ports.http)) $config) }}
{{- fail (printf "ports.http is %d, and the configuration listens on no such port" (int .Values.ports.http)) }}
{{- end }}
{{- if not (regexMatch (printf "(?m)^\\s*listen\\s*=\\s*\"[^\"]*:%d\"" (int .Values.ports.admin)) $config) }}
{{- fail (printf "ports.admin is %d, and [admin] of the configuration listens on no such port" (int .Values.ports.admin)) }}
{{- end }}
{{- if regexMatch "(?m)^\\s*listen\\s*=.*\"(127\\.|\\[::1\\]|localhost)" $config }}
{{- fail "the configuration listens on loopback, where neither players nor probes of a pod come from: \"0.0.0.0:PORT\" or \"[::]:PORT\"" }}
{{- end }}
{{- if regexMatch "(?m)^\\s*\\[\\s*nodes\\b" (tpl .Values.config .) }}
{{- fail "the configuration has [nodes], which nodes.enabled writes, with service, secret and policy; what else it is to say goes into nodes.settings" }}
{{- end }}
{{- if .Values.nodes.enabled }}
{{- if not .Values.nodes.secret }}
{{- fail "nodes.enabled, and nodes.secret names no Secret: pods would not know each other" }}
{{- end }}
{{- if has (int .Values.nodes.port) (list (int .Values.ports.http) (int .Values.ports.https) (int .Values.ports.admin)) }}
{{- fail (printf "nodes.port is %d, which is another port's already" (int .Values.nodes.port)) }}
{{- end }}
{{- end }}
{{- if .Values.models.store.url }}
{{- if regexMatch "(?m)^\\s*\\[\\s*models\\b" (tpl .Values.config .) }}
{{- fail "the configuration has [models], which models.store writes; what else [models.store] is to say goes into models.store.settings" }}
{{- end }}
{{- if not .Values.models.store.secret }}
{{- fail "models.store.url, and models.store.secret names no Secret with the store's keys" }}
{{- end }}
{{- if not .Values.storage.enabled }}
{{- fail "models.store.url, and storage is off: there is no place for what is fetched" }}
{{- end }}
{{- if .Values.models.existingClaim }}
{{- fail "models.store.url and models.existingClaim: models come from one of them" }}
{{- end }}
{{- end }}
{{- with .Values.workers.pool }}
{{- if .enabled }}
{{- if not (and .workerSecret .edgeSecret) }}
{{- fail "workers.pool.enabled, and workerSecret or edgeSecret names no Secret: edges and workers would not know each other" }}
{{- end }}
{{- if regexMatch "(?m)^\\s*\\[\\s*workers\\b" (tpl $.Values.config $) }}
{{- fail "the configuration has [workers], which workers.pool.enabled writes; what else it is to say goes into workers.settings" }}
{{- end }}
{{- if regexMatch "(?m)^\\s*\\[\\s*workers\\s*\\.\\s*listen\\b" (tpl .config $) }}
{{- fail "workers.pool.config has [workers.listen], which the chart writes" }}
{{- end }}
{{- if and $.Values.models.store.url (regexMatch "(?m)^\\s*\\[\\s*models\\b" (tpl .config $)) }}
{{- fail "workers.pool.config has [models], which models.store writes" }}
{{- end }}
{{- if and $.Values.models.store.url (has (int .modelsPort) (list (int .port) (int .adminPort))) }}
{{- fail "workers.pool.modelsPort is another port's already" }}
{{- end }}
{{- $poolCard := regexMatch "(?m)^\\s*provider\\s*=\\s*\"(cuda|tensorrt)\"" (tpl .config $) }}
{{- if ne $poolCard (ne (int .gpu.count) 0) }}
{{- fail "workers.pool.gpu.count and provider of workers.pool.config differ about whether there is a card" }}
{{- end }}
{{- if eq (int .port) (int .adminPort) }}
{{- fail "workers.pool.port and adminPort are the same" }}
{{- end }}
{{- if and .autoscaling.enabled (gt (int .autoscaling.minReplicas) (int .autoscaling.maxReplicas)) }}
{{- fail "workers.pool.autoscaling.minReplicas is above maxReplicas" }}
{{- end }}
{{- if and (not .storage.enabled) (regexMatch "\"/var/(cache|lib)/acuity\\b" (tpl .config $)) }}
{{- fail "workers.pool.config names a directory that workers.pool.storage mounts, and that is off" }}
{{- end }}
{{- end }}
{{- end }}
{{- $token := regexMatch "(?m)^\\s*token_file\\s*=" $config }}
{{- if and $token .Values.serviceMonitor.enabled (not .Values.serviceMonitor.tokenSecret) }}
{{- fail "the configuration has a token_file, and serviceMonitor.tokenSecret names none: Prometheus would get nothing" }}
{{- end }}
{{- if not (or $token .Values.networkPolicy.enabled) }}
{{- fail "networkPolicy is off and [admin] of the configuration has no token_file: whoever reaches a pod could purge it" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (eq .Values.kind "DaemonSet") }}
{{- fail "a DaemonSet has a pod for each node: no autoscaling" }}
{{- end }}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) }}
{{- fail "autoscaling.minReplicas is above maxReplicas" }}
{{- end }}
{{- $drain := regexFind "(?m)^\\s*drain_seconds\\s*=\\s*[0-9]+" $config | regexFind "[0-9]+$" | default "20" | int }}
{{- $notice := regexFind "(?m)^\\s*drain_notice_seconds\\s*=\\s*[0-9]+" $config | regexFind "[0-9]+$" | default "5" | int }}
{{- if lt (int .Values.drain.terminationGracePeriodSeconds) (add (int .Values.drain.preStopSeconds) $notice $drain | int) }}
{{- fail (printf "drain.terminationGracePeriodSeconds is below %d s (preStopSeconds and what the edge drains for): viewers would be cut off" (add (int .Values.drain.preStopSeconds) $notice $drain)) }}
{{- end }}
{{- end }}

{{/* What pods ask names and the world for. */}}
{{- define "acuity.egressOut" -}}
- to:
    - namespaceSelector: {}
      podSelector:
        matchLabels:
          k8s-app: kube-dns
  ports:
    - { port: 53, protocol: UDP }
    - { port: 53, protocol: TCP }
{{- if .egressToWorld }}
# What an origin's redirect or a name's address could lead to inside stays out of reach, whatever the edge thinks of it.
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except: [0.0.0.0/8, 10.0.0.0/8, 100.64.0.0/10, 127.0.0.0/8, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16, 224.0.0.0/3]
    - ipBlock:
        cidr: ::/0
        except: ["::1/128", "64:ff9b::/96", "fc00::/7", "fe80::/10", "ff00::/8"]
  ports:
    - { port: 80, protocol: TCP }
    - { port: 443, protocol: TCP }
{{- end }}
{{- with .extraEgress }}
{{ toYaml . }}
{{- end }}
{{- end }}
