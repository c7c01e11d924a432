{{/* What the objects of a release are found by. */}}
{{- define "myxi.labels" -}}
app.kubernetes.io/name: myxi
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Of nobody, without a right. */}}
{{- define "myxi.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# A socket that the application makes is also the gateway's.
fsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* Until a gateway has asked its application for the last time, in seconds. */}}
{{- define "myxi.end" -}}
{{ add .Values.end.shutdownDelay .Values.end.drainTime .Values.end.actionTimeout }}
{{- end }}

{{/* What the chart sets by itself: a second value of the same name would be anybody's guess. */}}
{{- define "myxi.settings" -}}
{{- $own := dict
  "MYXI_EXCHANGES" "exchanges" "MYXI_TRUSTED_PROXY" "trustedProxy" "MYXI_SHUTDOWN_DELAY" "end.shutdownDelay"
  "MYXI_DRAIN_TIME" "end.drainTime" "MYXI_ACTION_TIMEOUT" "end.actionTimeout" "RABBITMQ_URL" "secret"
  "MYXI_ACTION_HANDLER" "fleet.actionHandler or sidecar.application.socket" "MYXI_ACTION_HANDLER_TOKEN" "secret"
  "MYXI_GRPC_TOKEN" "secret" "MYXI_ADMIN_TOKEN" "secret" }}
{{- range $name, $value := .Values.env }}
{{- with get $own $name }}{{ fail (printf "env.%s: set %s instead" $name .) }}{{ end }}
{{- if has $name (list "MYXI_LISTEN" "MYXI_GRPC_LISTEN" "MYXI_ADMIN_LISTEN") }}
{{- fail (printf "env.%s: the ports are the chart's own" $name) }}
{{- end }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{/* The gateway, in either shape. */}}
{{- define "myxi.container" -}}
name: myxi
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: MYXI_EXCHANGES, value: {{ join "," .Values.exchanges | quote }}}
  - {name: MYXI_ADMIN_LISTEN, value: "0.0.0.0:5007"}
  {{- with .Values.trustedProxy }}
  - {name: MYXI_TRUSTED_PROXY, value: {{ . | quote }}}
  {{- end }}
  # Still accepting until every proxy has heard that the pod goes.
  - {name: MYXI_SHUTDOWN_DELAY, value: "{{ .Values.end.shutdownDelay }}s"}
  - {name: MYXI_DRAIN_TIME, value: "{{ .Values.end.drainTime }}s"}
  - {name: MYXI_ACTION_TIMEOUT, value: "{{ .Values.end.actionTimeout }}s"}
  {{- if eq .Values.shape "fleet" }}
  - {name: MYXI_ACTION_HANDLER, value: {{ .Values.fleet.actionHandler | quote }}}
  - {name: MYXI_GRPC_LISTEN, value: "0.0.0.0:5006"}
  - name: MYXI_ACTION_HANDLER_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.secret }}, key: action-handler-token}}
  - name: MYXI_GRPC_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.secret }}, key: grpc-token}}
  {{- else }}
  - {name: MYXI_ACTION_HANDLER, value: {{ printf "unix:%s" .Values.sidecar.application.socket | quote }}}
  {{- end }}
  # Without it only health is answered there.
  - name: MYXI_ADMIN_TOKEN
    valueFrom: {secretKeyRef: {name: {{ .Values.secret }}, key: admin-token}}
  - name: RABBITMQ_URL
    valueFrom: {secretKeyRef: {name: {{ .Values.secret }}, key: rabbitmq-url}}
  {{- with include "myxi.settings" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
{{- with .Values.envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - {name: clients, containerPort: 5005}
  {{- if eq .Values.shape "fleet" }}
  - {name: gateway, containerPort: 5006}
  {{- end }}
  - {name: admin, containerPort: 5007}
{{- if eq .Values.shape "sidecar" }}
# Not before its application is there, either.
startupProbe:
  exec: {command: [/usr/local/bin/myxi, health, --strict]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
{{- end }}
readinessProbe:
  httpGet: {path: /health/ready, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health/live, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}
