{{/* Settings of one's own. What the chart sets by itself may not be set a second time. */}}
{{- define "myxi.settings" -}}
{{- $own := dict
  "MYXI_EXCHANGES" "exchanges" "MYXI_TRUSTED_PROXY" "trustedProxy" "MYXI_SHUTDOWN_DELAY" "end.shutdownDelay"
  "MYXI_DRAIN_TIME" "end.drainTime" "MYXI_ACTION_TIMEOUT" "end.actionTimeout" "RABBITMQ_URL" "secret"
  "MYXI_ADMIN_TOKEN" "secret" "MYXI_LISTEN" "bindAddress" "MYXI_ADMIN_LISTEN" "bindAddress"
  "MYXI_ACTION_HANDLER" "sidecar.application.socket"
  "MYXI_GRPC_LISTEN" "nothing (it is the pod's loopback)" }}
{{- if eq .Values.shape "fleet" }}
{{- $own = merge (dict "MYXI_ACTION_HANDLER" "fleet.actionHandler" "MYXI_ACTION_HANDLER_TOKEN" "secret"
  "MYXI_GRPC_TOKEN" "secret" "MYXI_GRPC_LISTEN" "bindAddress") $own }}
{{- end }}
{{- range $name, $value := .Values.env }}
{{- with get $own $name }}{{ fail (printf "env.%s: set %s instead" $name .) }}{{ end }}
- {name: {{ $name }}, value: {{ include "myxi.text" $value }}}
{{- end }}
{{- end }}

{{/* The gateway's container, in either shape. */}}
{{- define "myxi.gateway" -}}
{{- $fleet := eq .Values.shape "fleet" -}}
name: myxi
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: MYXI_EXCHANGES, value: {{ join "," .Values.exchanges | quote }}}
  # Before any PORT that somebody else sets.
  - {name: MYXI_LISTEN, value: "{{ .Values.bindAddress }}:5005"}
  - {name: MYXI_ADMIN_LISTEN, value: "{{ .Values.bindAddress }}:5007"}
  {{- with .Values.trustedProxy }}
  - {name: MYXI_TRUSTED_PROXY, value: {{ join "," . | quote }}}
  {{- end }}
  # Still accepting until every proxy has heard that the pod goes.
  - {name: MYXI_SHUTDOWN_DELAY, value: "{{ .Values.end.shutdownDelay }}s"}
  - {name: MYXI_DRAIN_TIME, value: "{{ .Values.end.drainTime }}s"}
  - {name: MYXI_ACTION_TIMEOUT, value: "{{ .Values.end.actionTimeout }}s"}
  {{- if $fleet }}
  - {name: MYXI_ACTION_HANDLER, value: {{ .Values.fleet.actionHandler | quote }}}
  - {name: MYXI_GRPC_LISTEN, value: "{{ .Values.bindAddress }}:5006"}
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
  {{- if $fleet }}
  - {name: gateway, containerPort: 5006}
  {{- end }}
  - {name: admin, containerPort: 5007}
{{- if not $fleet }}
# Not before its application and the broker are there, for which it has an hour.
startupProbe:
  exec: {command: [/usr/local/bin/myxi, health, --strict]}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 1800
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
  {{- if not $fleet }}
  {{- with .Values.sidecar.application.securityContext.runAsUser }}
  # Whose socket it is.
  runAsUser: {{ . }}
  {{- end }}
  {{- end }}
{{- if or .Values.volumeMounts (not $fleet) }}
volumeMounts:
  {{- if not $fleet }}
  - {name: run, mountPath: {{ dir .Values.sidecar.application.socket }}}
  {{- end }}
  {{- with .Values.volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
{{- end }}
