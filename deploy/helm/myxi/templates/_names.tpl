{{- define "myxi.name" -}}
{{ .Values.nameOverride | default .Release.Name }}
{{- end }}

{{/* What the objects of a release are found by. */}}
{{- define "myxi.labels" -}}
app.kubernetes.io/name: myxi
app.kubernetes.io/instance: {{ include "myxi.name" . | quote }}
{{- end }}

{{- define "myxi.metadata" -}}
name: {{ include "myxi.name" . | quote }}
labels:
  {{- include "myxi.labels" . | nindent 2 }}
{{- end }}

{{/* Until a gateway has asked its application for the last time, in seconds. */}}
{{- define "myxi.end" -}}
{{ add .Values.end.shutdownDelay .Values.end.drainTime .Values.end.actionTimeout }}
{{- end }}

{{/* So long a sidecar's application waits with its own end. */}}
{{- define "myxi.wait" -}}
{{ add (include "myxi.end" .) 2 }}
{{- end }}

{{/* A variable's value. Numbers of a values file are no integers to Helm, whatever they look like. */}}
{{- define "myxi.text" -}}
{{ kindIs "float64" . | ternary (printf "%.0f" (float64 .)) (toString .) | quote }}
{{- end }}
