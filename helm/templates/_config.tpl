{{/* The server's configuration: the file, and what each process is told by its environment. */}}

{{/* Makes whole numbers of a table whole again: Helm reads 8080 as 8080.0, which the server refuses. Takes the table. */}}
{{- define "runplane.whole" -}}
{{- $table := . -}}
{{- range $key, $value := $table -}}
{{- if kindIs "map" $value -}}
{{- include "runplane.whole" $value -}}
{{- else if kindIs "slice" $value -}}
{{- range $value }}{{ if kindIs "map" . }}{{ include "runplane.whole" . }}{{ end }}{{ end -}}
{{- else if and (kindIs "float64" $value) (eq (floor $value) $value) -}}
{{- $_ := set $table $key (int64 $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration file, in TOML. */}}
{{- define "runplane.toml" -}}
{{- $config := deepCopy .Values.config -}}
{{- $store := default dict $config.store -}}
{{- if eq .Values.mode "embedded" -}}
{{- $store = merge (dict "url" "sqlite:///var/lib/runplane/runplane.db") $store -}}
{{- end -}}
{{- $_ := set $config "store" (merge (dict "migrate" (not (include "runplane.migrates" .))) $store) -}}
{{- $_ := set $config "admin" (dict "listen" (printf "%s:9090" .Values.listenHost)) -}}
{{- range $section, $table := $config -}}
{{- if not $table }}{{ $_ := unset $config $section }}{{ end -}}
{{- end -}}
{{- include "runplane.whole" $config -}}
{{- toToml $config -}}
{{- end -}}

{{/* The chart's secrets as a YAML map: file -> {env, value, from, key}. File is also the key in the chart's own Secret. */}}
{{- define "runplane.secrets" -}}
{{- $all := dict -}}
{{- with .Values.secrets -}}
{{- $_ := set $all "store-url" (dict "env" "RUNPLANE__STORE__URL_FILE" "value" .store.url "from" .store.existingSecret "key" .store.key) -}}
{{- $_ := set $all "redis-url" (dict "env" "RUNPLANE__REDIS__URL_FILE" "value" .redis.url "from" .redis.existingSecret "key" .redis.key) -}}
{{- $_ := set $all "pepper" (dict "env" "RUNPLANE__AUTH__PEPPER_FILE" "value" .pepper.value "from" .pepper.existingSecret "key" .pepper.key) -}}
{{- with .otlpHeaders -}}
{{- $_ := set $all "otlp-headers" (dict "env" "RUNPLANE__TELEMETRY__OTLP_HEADERS_FILE" "value" .value "from" .existingSecret "key" .key) -}}
{{- end -}}
{{- range $name, $given := .providers -}}
{{- $env := printf "RUNPLANE__PROVIDERS__%s__API_KEY_FILE" (upper $name) -}}
{{- $_ := set $all (printf "provider-%s" $name) (dict "env" $env "value" $given.value "from" $given.existingSecret "key" (default "api-key" $given.key)) -}}
{{- end -}}
{{- end -}}
{{- range $file, $secret := $all -}}
{{- if not (or $secret.value $secret.from) }}{{ $_ := unset $all $file }}{{ end -}}
{{- end -}}
{{- toYaml $all -}}
{{- end -}}

{{/* Those of them that are written in the values. Takes the map. */}}
{{- define "runplane.inline" -}}
{{- $inline := dict -}}
{{- range $file, $secret := . -}}
{{- if $secret.value }}{{ $_ := set $inline $file ($secret.value | b64enc) }}{{ end -}}
{{- end -}}
{{- if $inline }}{{ toYaml $inline }}{{ end -}}
{{- end -}}

{{/* Where the files are. Takes the map. */}}
{{- define "runplane.secretEnv" -}}
{{- range $file, $secret := . }}
- name: {{ $secret.env }}
  value: /run/secrets/runplane/{{ $file }}
{{- end }}
{{- end -}}

{{/* One volume of all of them. Takes {secrets: the map, own: the name of the chart's Secret}. */}}
{{- define "runplane.secretVolume" -}}
- name: secrets
  projected:
    # Read by the group of the pod, which is the process's own.
    defaultMode: 0440
    sources:
      {{- $own := .own }}
      {{- range $file, $secret := .secrets }}
      - secret:
          name: {{ $secret.from | default $own }}
          items:
            - key: {{ if $secret.from }}{{ $secret.key }}{{ else }}{{ $file }}{{ end }}
              path: {{ $file }}
      {{- end }}
{{- end -}}
