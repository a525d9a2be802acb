{{/*
The program's two settings files. Every value goes through toJson, a form of YAML: a large number keeps its
digits (toYaml makes 1e+06 of a million, which the program refuses), and text keeps its quotes.
*/}}

{{/* What a restart takes up: config.yaml. */}}
{{- define "reconciler.staticSettings" -}}
{{- $v := .Values -}}
bucket:
  name: {{ toJson $v.bucket.name }}
  prefixes: {{ toJson $v.bucket.prefixes }}
  {{- with $v.bucket.endpointUrl }}
  endpoint_url: {{ toJson . }}
  {{- end }}
  {{- with $v.bucket.region }}
  region: {{ toJson . }}
  {{- end }}
  addressing_style: {{ toJson $v.bucket.addressingStyle }}
  listing_order: {{ toJson $v.bucket.listingOrder }}
  request_timeout: {{ toJson $v.bucket.requestTimeout }}
  {{- with $v.bucket.keyShape }}
  key_shape: {{ toJson . }}
  {{- end }}
{{ include "reconciler.catalogSettings" . }}
grace_period: {{ toJson $v.gracePeriod }}
delete_delay: {{ toJson $v.deleteDelay }}
departure_delay: {{ toJson $v.departureDelay }}
delete_mode: {{ toJson $v.deleteMode }}
{{- with $v.quarantine.bucket }}
quarantine:
  bucket: {{ toJson . }}
{{- end }}
undo_window: {{ toJson $v.undoWindow }}
ledger_retention: {{ toJson $v.ledgerRetention }}
abort_multipart_after: {{ toJson $v.abortMultipartAfter }}
{{- if ne $v.sweep.source "list" }}
sweep:
  source: {{ toJson $v.sweep.source }}
inventory:
  {{- with $v.inventory.id }}
  id: {{ toJson . }}
  {{- end }}
  {{- with $v.inventory.destination }}
  destination: {{ toJson . }}
  {{- end }}
  engine: {{ toJson $v.inventory.engine }}
  {{- with $v.inventory.catalog }}
  catalog: {{ toJson . }}
  {{- end }}
  max_age: {{ toJson $v.inventory.maxAge }}
  memory: {{ toJson $v.inventory.memory }}
  disk: {{ toJson $v.inventory.disk }}
  directory: {{ toJson (default (include "reconciler.inventoryDirectory" $) $v.inventory.directory) }}
{{- end }}
integrity_interval: {{ toJson $v.integrityInterval }}
hold_for: {{ toJson $v.holdFor }}
upload_window: {{ toJson $v.uploadWindow }}
sweep_interval: {{ toJson $v.sweepInterval }}
retention_interval: {{ toJson $v.retentionInterval }}
accounting_interval: {{ toJson $v.accountingInterval }}
price_per_gib_month: {{ toJson $v.pricePerGibMonth }}
listing_concurrency: {{ toJson $v.listingConcurrency }}
delete_concurrency: {{ toJson $v.deleteConcurrency }}
copy_concurrency: {{ toJson $v.copyConcurrency }}
adoption:
  enabled: {{ toJson $v.adoption.enabled }}
  {{- with $v.adoption.ownerFrom }}
  owner_from: {{ toJson . }}
  {{- end }}
  columns: {{ toJson $v.adoption.columns }}
  max_heads_per_second: {{ toJson $v.adoption.maxHeadsPerSecond }}
retention:
  source: {{ toJson $v.retention.source }}
events:
  {{- with $v.events.queueUrl }}
  queue_url: {{ toJson . }}
  {{- end }}
  {{- with $v.events.webhook.url }}
  webhook_url: {{ toJson . }}
  webhook_secret_file: /etc/reconciler/events/secrets
  {{- end }}
  {{- with $v.events.notify }}
  notify: {{ toJson . }}
  {{- end }}
lease:
  ttl: {{ toJson $v.lease.ttl }}
web:
  host: {{ toJson $v.web.host }}
  port: {{ toJson $v.web.port }}
admin:
  host: {{ toJson $v.admin.host }}
  port: {{ toJson $v.admin.port }}
  cors_origins: {{ toJson $v.admin.corsOrigins }}
  {{- if $v.admin.tokens.existingSecret }}
  tokens_file: /etc/reconciler/admin/tokens
  {{- end }}
  oidc:
    {{- with $v.admin.oidc.issuer }}
    issuer: {{ toJson . }}
    {{- end }}
    audience: {{ toJson $v.admin.oidc.audience }}
    role_claim: {{ toJson $v.admin.oidc.roleClaim }}
    name_claim: {{ toJson $v.admin.oidc.nameClaim }}
    viewers: {{ toJson $v.admin.oidc.viewers }}
    operators: {{ toJson $v.admin.oidc.operators }}
    approvers: {{ toJson $v.admin.oidc.approvers }}
media:
  host: {{ toJson $v.media.host }}
  port: {{ toJson $v.media.port }}
  access: {{ toJson $v.media.access }}
  owner: {{ toJson $v.media.owner }}
  delivery: {{ toJson $v.media.delivery }}
  {{- with $v.media.redirectUrl }}
  redirect_url: {{ toJson . }}
  {{- end }}
  redirect_for: {{ toJson $v.media.redirectFor }}
  cache_for: {{ toJson $v.media.cacheFor }}
  {{- if $v.media.links.existingSecret }}
  link_keys_file: /etc/reconciler/links/secrets
  {{- end }}
  link_for: {{ toJson $v.media.linkFor }}
  record_accesses: {{ toJson $v.media.recordAccesses }}
  count_prefetch: {{ toJson $v.media.countPrefetch }}
  uncounted_agents: {{ toJson $v.media.uncountedAgents }}
  requests: {{ toJson $v.media.requests }}
  requests_per_owner: {{ toJson $v.media.requestsPerOwner }}
  uploads: {{ toJson $v.media.uploads.enabled }}
  {{- with $v.media.uploads.limits }}
  upload_limits: {{ toJson . }}
  {{- end }}
  upload_key: {{ toJson $v.media.uploads.key }}
  upload_columns: {{ toJson $v.media.uploads.columns }}
  upload_for: {{ toJson $v.media.uploads.urlFor }}
cdn:
  provider: {{ toJson $v.cdn.provider }}
  {{- with $v.cdn.url }}
  url: {{ toJson . }}
  {{- end }}
  url_column: {{ toJson $v.cdn.urlColumn }}
  zone: {{ toJson $v.cdn.zone }}
  plan: {{ toJson $v.cdn.plan }}
  {{- if $v.cdn.token.existingSecret }}
  token_file: /etc/reconciler/cdn/token
  {{- end }}
  {{- with $v.cdn.apiUrl }}
  api_url: {{ toJson . }}
  {{- end }}
  tags: {{ toJson $v.cdn.tags }}
{{- if or $v.erasure.signingKey.existingSecret $v.erasure.hashKey.existingSecret }}
erasure:
  {{- if $v.erasure.signingKey.existingSecret }}
  signing_key_file: /etc/reconciler/erasure-signing/key
  {{- end }}
  {{- if $v.erasure.hashKey.existingSecret }}
  hash_key_file: /etc/reconciler/erasure-hash/key
  {{- end }}
{{- end }}
{{- end -}}

{{/* What `migrate` reads of it. */}}
{{- define "reconciler.catalogSettings" -}}
{{- $v := .Values -}}
catalog:
  media_table: {{ toJson $v.catalog.mediaTable }}
  keys_table: {{ toJson $v.catalog.keysTable }}
  media_where: {{ toJson $v.catalog.mediaWhere }}
  variant_columns: {{ toJson $v.catalog.variantColumns }}
  also_referenced: {{ toJson $v.catalog.alsoReferenced }}
  media_columns:
    id: {{ toJson $v.catalog.mediaColumns.id }}
    storage_key: {{ toJson $v.catalog.mediaColumns.storageKey }}
    virtual_key_id: {{ toJson $v.catalog.mediaColumns.virtualKeyId }}
    size_bytes: {{ toJson $v.catalog.mediaColumns.sizeBytes }}
    created_at: {{ toJson $v.catalog.mediaColumns.createdAt }}
    expires_at: {{ toJson $v.catalog.mediaColumns.expiresAt }}
    last_accessed_at: {{ toJson $v.catalog.mediaColumns.lastAccessedAt }}
    deleted_at: {{ toJson $v.catalog.mediaColumns.deletedAt }}
    media_type: {{ toJson $v.catalog.mediaColumns.mediaType }}
    provider: {{ toJson $v.catalog.mediaColumns.provider }}
    model: {{ toJson $v.catalog.mediaColumns.model }}
    content_hash: {{ toJson $v.catalog.mediaColumns.contentHash }}
    access_count: {{ toJson $v.catalog.mediaColumns.accessCount }}
  key_columns:
    id: {{ toJson $v.catalog.keyColumns.id }}
    is_enabled: {{ toJson $v.catalog.keyColumns.isEnabled }}
    expires_at: {{ toJson $v.catalog.keyColumns.expiresAt }}
    group_id: {{ toJson $v.catalog.keyColumns.groupId }}
    key_hash: {{ toJson $v.catalog.keyColumns.keyHash }}
  {{- with $v.catalog.timeZone }}
  time_zone: {{ toJson . }}
  {{- end }}
  {{- with $v.catalog.epochUnit }}
  epoch_unit: {{ toJson . }}
  {{- end }}
{{- with $v.operator }}
operator: {{ toJson . }}
{{- end }}
log_format: {{ toJson $v.log.format }}
log_level: {{ toJson $v.log.level }}
{{- end -}}

{{/* A section with the program's names, media_type for mediaType, and so in the sections inside it. */}}
{{- define "reconciler.inSettingsNames" -}}
{{- $made := dict -}}
{{- range $name, $value := . -}}
{{- if kindIs "map" $value -}}
{{- $value = include "reconciler.inSettingsNames" $value | fromJson -}}
{{- end -}}
{{- $_ := set $made (snakecase $name) $value -}}
{{- end -}}
{{- toJson $made -}}
{{- end -}}

{{/* What a running daemon takes up: runtime.yaml. */}}
{{- define "reconciler.runtimeSettings" -}}
{{- $v := .Values -}}
{{- $media := $v.mediaManagement -}}
dry_run: {{ toJson $v.dryRun }}
enable_auto_cleanup: {{ toJson $media.enableAutoCleanup }}
orphan_cleanup_enabled: {{ toJson (and $media.enableOwnershipTracking $media.orphanCleanupEnabled) }}
dangling_cleanup_enabled: {{ toJson (and $media.enableOwnershipTracking $media.danglingCleanupEnabled) }}
media_retention_days: {{ toJson $media.mediaRetentionDays }}
recent_access_days: {{ toJson $media.recentAccessDays }}
revoked_key_policy: {{ toJson $media.revokedKeyPolicy }}
key_grace: {{ toJson $media.keyGrace }}
retention:
  {{- $rules := list }}
  {{- range $rule := $v.retention.rules }}
  {{- $rules = append $rules (include "reconciler.inSettingsNames" $rule | fromJson) }}
  {{- end }}
  rules: {{ toJson $rules }}
quota:
  max_bytes: {{ toJson $v.quota.maxBytes }}
  max_objects: {{ toJson $v.quota.maxObjects }}
  owner: {{ toJson $v.quota.owner }}
  evict: {{ toJson $v.quota.evict }}
max_deletes_per_second: {{ toJson $v.maxDeletesPerSecond }}
breaker:
  max_fraction: {{ toJson $v.breaker.maxFraction }}
  max_count: {{ toJson $v.breaker.maxCount }}
  max_dangling: {{ toJson $v.breaker.maxDangling }}
  min_count: {{ toJson $v.breaker.minCount }}
approval_ttl: {{ toJson $v.approvalTtl }}
{{- end -}}
