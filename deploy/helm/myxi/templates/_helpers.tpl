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

{{- define "myxi.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* The gateway, in either shape. */}}
{{- define "myxi.container" -}}
name: myxi
image: {{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  - {name: MYXI_EXCHANGES, value: {{ join "," .Values.exchanges | quote }}}
  - {name: MYXI_ADMIN_LISTEN, value: "0.0.0.0:5007"}
  - {name: MYXI_TRUSTED_PROXY, value: {{ .Values.trustedProxy | quote }}}
  # Still accepting until every proxy has heard that the pod goes.
  - {name: MYXI_SHUTDOWN_DELAY, value: "5s"}
  - {name: MYXI_DRAIN_TIME, value: "10s"}
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
  {{- range $name, $value := .Values.env }}
  - {name: {{ $name }}, value: {{ $value | quote }}}
  {{- end }}
ports:
  - {name: clients, containerPort: 5005}
  {{- if eq .Values.shape "fleet" }}
  - {name: gateway, containerPort: 5006}
  {{- end }}
  - {name: admin, containerPort: 5007}
readinessProbe:
  httpGet: {path: /health/ready, port: admin}
  periodSeconds: 2
  failureThreshold: 1
livenessProbe:
  httpGet: {path: /health/live, port: admin}
  periodSeconds: 10
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- include "myxi.containerSecurity" . | nindent 2 }}
{{- end }}
