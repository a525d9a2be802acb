{{/* What the daemon's, the hook's and the test's pods have in common. */}}

{{/* Whether the chart makes a Secret, and its name. */}}
{{- define "reconciler.makesSecret" -}}
{{- if or .Values.database.url .Values.bucket.credentials.accessKeyId -}}true{{- end -}}
{{- end -}}

{{/* Where the database's address is: the Secret, and its entry. */}}
{{- define "reconciler.databaseSecret" -}}
{{- if .Values.database.url -}}
name: {{ include "reconciler.fullname" . }}
key: database-url
{{- else -}}
name: {{ .Values.database.existingSecret }}
key: {{ .Values.database.existingSecretKey }}
{{- end -}}
{{- end -}}

{{/* The same for the hook, which may be another role's, and of which the chart's own Secret comes too late. */}}
{{- define "reconciler.hookDatabaseSecret" -}}
{{- if .Values.migrations.existingSecret -}}
name: {{ .Values.migrations.existingSecret }}
key: {{ .Values.migrations.existingSecretKey }}
{{- else if .Values.database.url -}}
name: {{ include "reconciler.fullname" . }}-migrate
key: database-url
{{- else -}}
{{- include "reconciler.databaseSecret" . -}}
{{- end -}}
{{- end -}}

{{/* The address as a variable, or as the name of a file: of the root and such a reference. */}}
{{- define "reconciler.databaseEnv" -}}
{{- $root := index . 0 -}}
{{- if $root.Values.database.asFile -}}
- name: RECONCILER_DATABASE_URL_FILE
  value: /etc/reconciler/database/url
{{- else -}}
- name: RECONCILER_DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- index . 1 | nindent 6 }}
{{- end -}}
{{- end -}}

{{- define "reconciler.databaseMount" -}}
{{- if .Values.database.asFile }}
- name: database
  mountPath: /etc/reconciler/database
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reconciler.databaseVolume" -}}
{{- $root := index . 0 -}}
{{- $secret := index . 1 | fromYaml -}}
{{- if $root.Values.database.asFile }}
- name: database
  secret:
    secretName: {{ $secret.name }}
    defaultMode: 0440
    items:
      - key: {{ $secret.key }}
        path: url
{{- end }}
{{- end -}}

{{/* Whether the daemon knows whom to let in to the admin API, and so serves it. */}}
{{- define "reconciler.adminOn" -}}
{{- if or .Values.admin.tokens.existingSecret .Values.admin.oidc.issuer -}}true{{- end -}}
{{- end -}}

{{/* Whether the bucket's credentials come from a Secret. */}}
{{- define "reconciler.hasCredentials" -}}
{{- with .Values.bucket.credentials -}}
{{- if or .existingSecret .accessKeyId -}}true{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.credentialsSecretName" -}}
{{- default (include "reconciler.fullname" .) .Values.bucket.credentials.existingSecret -}}
{{- end -}}

{{- define "reconciler.credentialsFileKey" -}}
{{- ternary .Values.bucket.credentials.fileKey "credentials" (not (empty .Values.bucket.credentials.existingSecret)) -}}
{{- end -}}

{{/* The store's credentials, as far as they are variables. */}}
{{- define "reconciler.credentialsEnv" -}}
{{- if include "reconciler.hasCredentials" . }}
{{- $credentials := .Values.bucket.credentials }}
{{- $made := empty $credentials.existingSecret }}
{{- if $credentials.asFile }}
- name: AWS_SHARED_CREDENTIALS_FILE
  value: /etc/reconciler/credentials/{{ include "reconciler.credentialsFileKey" . }}
{{- else }}
- name: AWS_ACCESS_KEY_ID
  valueFrom:
    secretKeyRef:
      name: {{ include "reconciler.credentialsSecretName" . }}
      key: {{ ternary "aws-access-key-id" $credentials.accessKeyIdKey $made }}
- name: AWS_SECRET_ACCESS_KEY
  valueFrom:
    secretKeyRef:
      name: {{ include "reconciler.credentialsSecretName" . }}
      key: {{ ternary "aws-secret-access-key" $credentials.secretAccessKeyKey $made }}
{{- if and (not $made) $credentials.sessionTokenKey }}
- name: AWS_SESSION_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ include "reconciler.credentialsSecretName" . }}
      key: {{ $credentials.sessionTokenKey }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "reconciler.credentialsMount" -}}
{{- if and (include "reconciler.hasCredentials" .) .Values.bucket.credentials.asFile }}
- name: credentials
  mountPath: /etc/reconciler/credentials
  readOnly: true
{{- end }}
{{- end -}}

{{- define "reconciler.credentialsVolume" -}}
{{- if and (include "reconciler.hasCredentials" .) .Values.bucket.credentials.asFile }}
- name: credentials
  secret:
    secretName: {{ include "reconciler.credentialsSecretName" . }}
    defaultMode: 0440
    items:
      - key: {{ include "reconciler.credentialsFileKey" . }}
        path: {{ include "reconciler.credentialsFileKey" . }}
{{- end }}
{{- end -}}

{{/* Of the daemon and of the test: everything that a pass needs. */}}
{{- define "reconciler.env" -}}
- name: RECONCILER_CONFIG_FILE
  value: /etc/reconciler/config.yaml
- name: RECONCILER_RUNTIME_FILE
  value: /etc/reconciler/runtime/runtime.yaml
{{ include "reconciler.databaseEnv" (list . (include "reconciler.databaseSecret" .)) }}
{{- with include "reconciler.credentialsEnv" . }}
{{ . }}
{{- end }}
{{- if .Values.inventory.ray.enabled }}
- name: RAY_ADDRESS
  value: ray://{{ include "reconciler.fullname" . }}-ray:10001
- name: RAY_AUTH_MODE
  value: disabled
{{- end }}
{{- with .Values.tracing.endpoint }}
- name: OTEL_EXPORTER_OTLP_ENDPOINT
  value: {{ toJson . }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "reconciler.volumeMounts" -}}
{{- /* One file, as it was when the pod began: a change of it restarts the pods. */}}
- name: config
  mountPath: /etc/reconciler/config.yaml
  subPath: config.yaml
  readOnly: true
{{- /* The directory, never a file of it: the kubelet swaps its content while the daemon runs. */}}
- name: runtime
  mountPath: /etc/reconciler/runtime
  readOnly: true
{{- include "reconciler.databaseMount" . }}
{{- include "reconciler.credentialsMount" . }}
{{- if .Values.admin.tokens.existingSecret }}
{{- /* The directory, so that a changed token counts without a restart. */}}
- name: admin-tokens
  mountPath: /etc/reconciler/admin
  readOnly: true
{{- end }}
{{- if .Values.cdn.token.existingSecret }}
{{- /* The directory, so that a changed token counts without a restart. */}}
- name: cdn-token
  mountPath: /etc/reconciler/cdn
  readOnly: true
{{- end }}
{{- if .Values.erasure.signingKey.existingSecret }}
- name: erasure-signing
  mountPath: /etc/reconciler/erasure-signing
  readOnly: true
{{- end }}
{{- if .Values.erasure.hashKey.existingSecret }}
- name: erasure-hash
  mountPath: /etc/reconciler/erasure-hash
  readOnly: true
{{- end }}
{{- if .Values.events.webhook.existingSecret }}
{{- /* The directory, so that a replaced secret counts without a restart. */}}
- name: event-secrets
  mountPath: /etc/reconciler/events
  readOnly: true
{{- end }}
- name: tmp
  mountPath: /tmp
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "reconciler.volumes" -}}
- name: config
  configMap:
    name: {{ include "reconciler.fullname" . }}
- name: runtime
  configMap:
    name: {{ include "reconciler.fullname" . }}-runtime
{{- include "reconciler.databaseVolume" (list . (include "reconciler.databaseSecret" .)) }}
{{- include "reconciler.credentialsVolume" . }}
{{- with .Values.admin.tokens }}
{{- if .existingSecret }}
- name: admin-tokens
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: tokens
{{- end }}
{{- end }}
{{- with .Values.cdn.token }}
{{- if .existingSecret }}
- name: cdn-token
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: token
{{- end }}
{{- end }}
{{- range $name, $key := dict "signing" .Values.erasure.signingKey "hash" .Values.erasure.hashKey }}
{{- if $key.existingSecret }}
- name: erasure-{{ $name }}
  secret:
    secretName: {{ $key.existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ $key.existingSecretKey }}
        path: key
{{- end }}
{{- end }}
{{- with .Values.events.webhook }}
{{- if .existingSecret }}
- name: event-secrets
  secret:
    secretName: {{ .existingSecret }}
    defaultMode: 0440
    items:
      - key: {{ .existingSecretKey }}
        path: secrets
{{- end }}
{{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 64Mi
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Where the daemon keeps the inventory that it compares. It outlives the container, not the pod. */}}
{{- define "reconciler.inventoryDirectory" -}}/inventory{{- end -}}

{{- define "reconciler.inventoryMounted" -}}
{{- if and (ne .Values.sweep.source "list") (not .Values.inventory.directory) -}}true{{- end -}}
{{- end -}}

{{- /* Twice the setting, which counts for the inventory's files and again for the comparison: 40GiB makes 80Gi. */}}
{{- define "reconciler.inventoryRoom" -}}
{{- $disk := toJson .Values.inventory.disk | trimAll "\"" -}}
{{- $number := regexFind "^[0-9.]+" $disk -}}
{{- $unit := trimPrefix $number $disk | trim | trimSuffix "B" | upper | replace "I" "i" -}}
{{- mulf 2 $number | toJson }}{{ eq $unit "K" | ternary "k" $unit -}}
{{- end -}}

{{- define "reconciler.imagePullSecrets" -}}
{{- with concat ((.Values.global).imagePullSecrets | default list) .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Where pods may run. */}}
{{- define "reconciler.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
