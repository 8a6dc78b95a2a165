{{/* What the schema cannot say, or says less clearly: refuses combinations that would not work. */}}
{{- define "runplane.check" -}}
{{- $values := .Values -}}
{{- $embedded := eq .Values.mode "embedded" -}}
{{- if and $embedded (ne .Values.layout "all") -}}
{{- fail "mode embedded keeps its data in SQLite, which one process has for itself: layout must be all; mode postgres takes split" -}}
{{- end -}}
{{- if and $embedded (or (ne (int .Values.server.replicas) 1) .Values.server.autoscaling.enabled) -}}
{{- fail "mode embedded keeps its data in SQLite, which one process has for itself: server.replicas must be 1 and server.autoscaling off; mode postgres takes more" -}}
{{- end -}}
{{- with .Values.secrets -}}
{{- if and $embedded (or .store.url .store.existingSecret) -}}
{{- fail "secrets.store names a Postgres, which mode embedded does not use: set mode to postgres, or leave it out" -}}
{{- end -}}
{{- if not (or $embedded .store.url .store.existingSecret) -}}
{{- fail "mode postgres needs its address: set secrets.store.existingSecret, or secrets.store.url" -}}
{{- end -}}
{{- if not (or $embedded .pepper.value .pepper.existingSecret (default dict $values.config.auth).secrets_file) -}}
{{- fail "mode postgres needs a pepper that all processes share: set secrets.pepper.existingSecret, or secrets.pepper.value (openssl rand -hex 32)" -}}
{{- end -}}
{{- range $name, $pair := dict "store" (list .store.url .store.existingSecret) "redis" (list .redis.url .redis.existingSecret) "pepper" (list .pepper.value .pepper.existingSecret) "otlpHeaders" (list .otlpHeaders.value .otlpHeaders.existingSecret) -}}
{{- if and (index $pair 0) (index $pair 1) -}}
{{- fail (printf "secrets.%s is written in the values and named by existingSecret: only one of both" $name) -}}
{{- end -}}
{{- end -}}
{{- range $name, $given := .providers -}}
{{- if eq (not $given.value) (not $given.existingSecret) -}}
{{- fail (printf "secrets.providers.%s needs either value or existingSecret" $name) -}}
{{- end -}}
{{- $known := or (has $name (list "openai" "anthropic" "gemini" "ollama")) (hasKey (default dict $values.config.providers) $name) -}}
{{- if not $known -}}
{{- fail (printf "secrets.providers.%s is a key for a provider that is not known: describe it in config.providers.%s" $name $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if regexMatch "^RUNPLANE__(STORE__URL|REDIS__URL|AUTH__PEPPER|TELEMETRY__OTLP_HEADERS|PROVIDERS__.*__API_KEY)$" (upper .name) -}}
{{- fail (printf "extraEnv: %s is a secret and would show in the pod: use secrets" .name) -}}
{{- end -}}
{{- if regexMatch "^RUNPLANE__(SERVER__ROLE|SERVER__LISTEN|ADMIN__LISTEN|STORE__MIGRATE)$" (upper .name) -}}
{{- fail (printf "extraEnv: %s is set by the chart itself: see layout, listenHost and migration" .name) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- fail "ingress.hosts needs a name: the paths of gRPC and REST would otherwise be taken for every host" -}}
{{- end -}}
{{- with .Values.gateway -}}
{{- if and .enabled (not .parentRefs) -}}
{{- fail "gateway.parentRefs needs a gateway" -}}
{{- end -}}
{{- if and .enabled .grpc.enabled (or (not .grpc.parentRefs) (eq (toJson .parentRefs) (toJson .grpc.parentRefs))) -}}
{{- $shared := list -}}
{{- range .grpc.hostnames }}{{ if has . $values.gateway.hostnames }}{{ $shared = append $shared . }}{{ end }}{{ end -}}
{{- if or $shared (not .hostnames) (not .grpc.hostnames) -}}
{{- fail "gateway.grpc would share a host and a listener with the HTTPRoute, and a gateway accepts only one of them: the HTTPRoute carries gRPC too, so leave gateway.grpc off, or give it hostnames or parentRefs of its own" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
