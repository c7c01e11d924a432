{{/* The container of the application that has a gateway beside it. */}}
{{- define "myxi.application" -}}
{{- with .Values.sidecar.application -}}
name: application
image: {{ .image }}
env:
  {{- $env := .env }}
  {{- if not (hasKey $env "LISTEN") }}
  - {name: LISTEN, value: {{ printf "unix:%s" .socket | quote }}}
  {{- end }}
  {{- if not (hasKey $env "MYXI_GATEWAY") }}
  # Loopback is the pod's.
  - {name: MYXI_GATEWAY, value: "127.0.0.1:5006"}
  {{- end }}
  {{- range $name, $value := $env }}
  - {name: {{ $name }}, value: {{ include "myxi.text" $value }}}
  {{- end }}
{{- with .envFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .ports }}
ports:
  {{- toYaml . | nindent 2 }}
{{- end }}
lifecycle:
  # Both are told to end at the same time, and the gateway asks it to the last: shutdown delay +
  # drain time + action timeout.
  preStop: {sleep: {seconds: {{ include "myxi.wait" $ }}}}
volumeMounts:
  - {name: run, mountPath: {{ dir .socket }}}
  - {name: tmp, mountPath: /tmp}
  {{- with .volumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with .container }}
{{ toYaml . }}
{{- end }}
resources:
  {{- toYaml .resources | nindent 2 }}
securityContext:
  {{- toYaml .securityContext | nindent 2 }}
{{- end }}
{{- end }}
