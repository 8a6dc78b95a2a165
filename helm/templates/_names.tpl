{{/* Names and labels of all objects. Selectors never change between versions: Kubernetes would refuse the upgrade. */}}

{{- define "runplane.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "runplane.fullname" -}}
{{- $name := include "runplane.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* What selectors stand on. */}}
{{- define "runplane.selector" -}}
app.kubernetes.io/name: {{ include "runplane.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "runplane.labels" -}}
{{ include "runplane.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "runplane.image" -}}
{{- with .Values.image -}}
{{- if .registry }}{{ .registry }}/{{ end }}{{ .repository }}
{{- if .digest }}@{{ .digest }}{{ else }}:{{ default $.Chart.AppVersion .tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "runplane.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "runplane.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* What the hook is, and in which order its parts come: others at -10, the job at 0. They go when the job has succeeded, and stay
to be looked at when it has failed. */}}
{{- define "runplane.hook" -}}
helm.sh/hook: pre-install,pre-upgrade
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* True when a job brings the schema to its newest change. */}}
{{- define "runplane.migrates" -}}
{{- if and (eq .Values.mode "postgres") .Values.migration.enabled }}true{{ end -}}
{{- end -}}
