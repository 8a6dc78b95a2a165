{{/* The pod of a server or worker. Takes {root, name: server | worker, values: its part of the values, role}. */}}
{{- define "runplane.pod" -}}
{{- $root := .root -}}
{{- $fullname := include "runplane.fullname" $root -}}
{{- $secrets := include "runplane.secrets" $root | fromYaml -}}
{{- $inline := include "runplane.inline" $secrets -}}
{{- with $root.Values -}}
{{- $server := default dict .config.server -}}
{{- $drain := add (dig "drain_notice_seconds" 0 $server) (dig "drain_seconds" 25 $server) -}}
metadata:
  labels:
    {{- include "runplane.labels" $root | nindent 4 }}
    app.kubernetes.io/component: {{ $.name }}
    runplane-metrics: "yes"
    {{- with $.values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    kubectl.kubernetes.io/default-container: runplane
    # Pods of a new configuration are new pods.
    checksum/config: {{ include "runplane.toml" $root | sha256sum }}
    {{- if $inline }}
    checksum/secrets: {{ $inline | sha256sum }}
    {{- end }}
    {{- with $.values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with .imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  serviceAccountName: {{ include "runplane.account" $root }}
  automountServiceAccountToken: false
  # Variables of other services, such as RUNPLANE_PORT, mean nothing here.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ add $drain .shutdownMarginSeconds }}
  securityContext:
    {{- toYaml .podSecurityContext | nindent 4 }}
  {{- with $.values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $.values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $.values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if and $.values.topologySpread (eq .mode "postgres") }}
  topologySpreadConstraints:
    {{- range $.values.topologySpread }}
    - labelSelector:
        matchLabels:
          {{- include "runplane.selector" $root | nindent 10 }}
          app.kubernetes.io/component: {{ $.name }}
      # Pods of the version that goes do not count.
      matchLabelKeys: [pod-template-hash]
      {{- toYaml . | nindent 6 }}
    {{- end }}
  {{- end }}
  containers:
    - name: runplane
      image: {{ include "runplane.image" $root }}
      imagePullPolicy: {{ .image.pullPolicy }}
      args: [serve, --config, /etc/runplane/runplane.toml]
      env:
        - name: RUNPLANE__SERVER__ROLE
          value: {{ $.role }}
        # The image sets it too, and the environment goes before the file.
        - name: RUNPLANE__SERVER__LISTEN
          value: {{ printf "%s:8080" .listenHost | quote }}
        {{- if and (default dict .config.telemetry).otlp_endpoint (not (contains "\"OTEL_RESOURCE_ATTRIBUTES\"" (toJson .extraEnv))) }}
        # By which a collector tells where something comes from.
        - name: POD_NAME
          valueFrom: {fieldRef: {fieldPath: metadata.name}}
        - name: NODE_NAME
          valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
        - name: OTEL_RESOURCE_ATTRIBUTES
          value: k8s.namespace.name={{ $root.Release.Namespace }},k8s.pod.name=$(POD_NAME),k8s.node.name=$(NODE_NAME)
        {{- end }}
        {{- if .tls.existingSecret }}
        - name: RUNPLANE__TLS__CERTIFICATE
          value: /run/secrets/tls/tls.crt
        - name: RUNPLANE__TLS__KEY
          value: /run/secrets/tls/tls.key
        {{- end }}
        {{- if $secrets }}
        {{- include "runplane.secretEnv" $secrets | trim | nindent 8 }}
        {{- end }}
        {{- with .extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: api
          containerPort: 8080
        - name: admin
          containerPort: 9090
      startupProbe:
        httpGet: {path: /livez, port: admin}
        {{- toYaml .probes.startup | nindent 8 }}
      livenessProbe:
        httpGet: {path: /livez, port: admin}
        {{- toYaml .probes.liveness | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        {{- toYaml .probes.readiness | nindent 8 }}
      resources:
        {{- toYaml $.values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .containerSecurityContext | nindent 8 }}
      volumeMounts:
        - name: config
          mountPath: /etc/runplane
          readOnly: true
        {{- if $secrets }}
        - name: secrets
          mountPath: /run/secrets/runplane
          readOnly: true
        {{- end }}
        {{- if .tls.existingSecret }}
        - name: tls
          mountPath: /run/secrets/tls
          readOnly: true
        {{- end }}
        {{- if eq .mode "embedded" }}
        - name: data
          mountPath: /var/lib/runplane
        {{- end }}
        - name: tmp
          mountPath: /tmp
        {{- with .extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $fullname }}
    {{- if $secrets }}
    {{- include "runplane.secretVolume" (dict "secrets" $secrets "own" $fullname) | nindent 4 }}
    {{- end }}
    {{- with .tls.existingSecret }}
    - name: tls
      secret:
        secretName: {{ . }}
        defaultMode: 0440
    {{- end }}
    {{- if eq .mode "embedded" }}
    - name: data
      {{- if .persistence.enabled }}
      persistentVolumeClaim:
        claimName: {{ default (printf "%s-data" $fullname) .persistence.existingClaim }}
      {{- else }}
      emptyDir:
        sizeLimit: {{ .persistence.size }}
      {{- end }}
    {{- end }}
    # The root is read-only; SQLite sorts large answers in a file.
    - name: tmp
      emptyDir:
        sizeLimit: 256Mi
    {{- with .extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
