{{/*
Refuses values that must be mistakes, in words that say what to write and all at once: first what the schema tells of
each value, then what several values together tell. What a template below has to say is a line.
*/}}
{{- define "reconciler.validate" -}}
{{- $faults := include "reconciler.validateSchema" . | trim -}}
{{- if $faults -}}
{{- include "reconciler.refuse" $faults -}}
{{- end -}}
{{- $parts := list -}}
{{- range list "Site" "Credentials" "Deletion" "Pods" "Admin" "Media" "Cdn" "Events" "Ray" "Nothing" -}}
{{- $parts = append $parts (include (printf "reconciler.validate%s" .) $) -}}
{{- end -}}
{{- with join "" $parts | trim -}}
{{- include "reconciler.refuse" . -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.refuse" -}}
{{- $lines := splitList "\n" . -}}
{{- $told := . -}}
{{- if gt (len $lines) 1 -}}
{{- $told = printf "%d values have to be changed:\n- %s" (len $lines) (join "\n- " $lines) -}}
{{- end -}}
{{- fail $told -}}
{{- /* `helm lint` makes nothing of `fail`: for it, ask for a template of that name. */ -}}
{{- include $told . -}}
{{- end -}}

{{- define "reconciler.validateSchema" -}}
{{- $schema := .Files.Get "files/values.schema.json" | fromJson -}}
{{- include "reconciler.faults" (list $schema $schema .Values.AsMap "") -}}
{{- end -}}

{{/*
A value of null: helm takes the chart's default away for it, and a running daemon refuses the whole file then, a dry
run in the same file included.
*/}}
{{- define "reconciler.validateNothing" -}}
{{- $settings := printf "%s\n%s" (include "reconciler.staticSettings" .) (include "reconciler.runtimeSettings" .) -}}
{{- range $line := splitList "\n" $settings -}}
{{- if hasSuffix ": null" $line -}}
{{- println (printf "the setting %s has no value: null takes the chart's default away; leave the value out to have the default" (trimSuffix ": null" (trim $line))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Which bucket, which part of it, which database. */}}
{{- define "reconciler.validateSite" -}}
{{- $v := .Values -}}
{{- if not $v.bucket.name -}}
{{- println "bucket.name is not set: name the bucket, such as --set bucket.name=media" -}}
{{- end -}}
{{- if not $v.bucket.prefixes -}}
{{- println "bucket.prefixes is not set: list the managed prefixes, such as --set 'bucket.prefixes={image/,video/}'" -}}
{{- end -}}
{{- if and (has "" $v.bucket.prefixes) (ne (toString $v.bucket.wholeBucket) "true") -}}
{{- println "bucket.prefixes holds an empty one, which is the whole bucket: list the managed prefixes, or set bucket.wholeBucket=true if all of it is meant" -}}
{{- end -}}
{{- range $prefix := $v.bucket.prefixes -}}
{{- if hasPrefix ".reconciler/" $prefix -}}
{{- println (printf "bucket.prefixes: %q is the reconciler's own corner of the bucket and is never managed" $prefix) -}}
{{- end -}}
{{- range $other := $v.bucket.prefixes -}}
{{- if and (ne $prefix $other) (hasPrefix $prefix $other) -}}
{{- println (printf "bucket.prefixes: %q is inside %q: name each key once, so drop one of the two" $other $prefix) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or $v.database.url $v.database.existingSecret) -}}
{{- println "database.existingSecret is not set: name a Secret with the database's address, such as --set database.existingSecret=reconciler-database" -}}
{{- end -}}
{{- if and $v.database.url $v.database.existingSecret -}}
{{- println "database.url and database.existingSecret are both set: leave one of them out" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validateCredentials" -}}
{{- $credentials := .Values.bucket.credentials -}}
{{- if and $credentials.existingSecret $credentials.accessKeyId -}}
{{- println "bucket.credentials.existingSecret and bucket.credentials.accessKeyId are both set: leave one of them out" -}}
{{- end -}}
{{- if ne (empty $credentials.accessKeyId) (empty $credentials.secretAccessKey) -}}
{{- println "bucket.credentials.accessKeyId and bucket.credentials.secretAccessKey belong together: set both or neither" -}}
{{- end -}}
{{- if and $credentials.asFile (not (include "reconciler.hasCredentials" .)) -}}
{{- println "bucket.credentials.asFile is set, but there are no credentials: set bucket.credentials.existingSecret too" -}}
{{- end -}}
{{- if and (include "reconciler.hasCredentials" .) (hasKey .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn") -}}
{{- println "bucket.credentials would hide the role in serviceAccount.annotations: leave one of them out" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validateDeletion" -}}
{{- $media := .Values.mediaManagement -}}
{{- if and (eq $media.revokedKeyPolicy "delete") (not $media.accessControlEnabled) -}}
{{- println "mediaManagement.revokedKeyPolicy=delete needs mediaManagement.accessControlEnabled=true: without access control, public links still serve a disabled key's media" -}}
{{- end -}}
{{- range $rule := .Values.retention.rules -}}
{{- if not $rule.match -}}
{{- println (printf "retention.rules: the match of %s is empty, and so is for everything: that is what mediaManagement is for" $rule.name) -}}
{{- end -}}
{{- if and (eq (toString $rule.revokedKeyPolicy) "delete") (not $media.accessControlEnabled) -}}
{{- println (printf "retention.rules: revokedKeyPolicy=delete of %s needs mediaManagement.accessControlEnabled=true: without access control, public links still serve a disabled key's media" $rule.name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The admin API, which is there where it knows whom to let in. */}}
{{- define "reconciler.validateAdmin" -}}
{{- $admin := .Values.admin -}}
{{- if or (eq $admin.host "localhost") (eq $admin.host "::1") (hasPrefix "127." $admin.host) -}}
{{- println (printf "admin.host: %s cannot be reached from outside the pod: use 0.0.0.0, or :: where the cluster has IPv6 alone" $admin.host) -}}
{{- end -}}
{{- if eq (int $admin.port) (int .Values.web.port) -}}
{{- println (printf "admin.port and web.port are both %d: metrics and the admin API need a port each" (int $admin.port)) -}}
{{- end -}}
{{- if and $admin.ingress.enabled (not (include "reconciler.adminOn" .)) -}}
{{- println "admin.ingress.enabled is true, but nobody may call the admin API: set admin.tokens.existingSecret or admin.oidc.issuer too" -}}
{{- end -}}
{{- with $admin.oidc -}}
{{- if and .issuer (or (not .audience) (not (or .viewers .operators .approvers))) -}}
{{- println "admin.oidc.issuer is set: set admin.oidc.audience too, and who has a role in admin.oidc.viewers, operators or approvers" -}}
{{- end -}}
{{- end -}}
{{- if and $admin.ingress.enabled (not $admin.ingress.host) -}}
{{- println "admin.ingress.host is not set: name the host by which the admin API is reached" -}}
{{- end -}}
{{- end -}}

{{/* Events, which receivers have to know for ours. */}}
{{- define "reconciler.validateEvents" -}}
{{- with .Values.events.webhook -}}
{{- if and .url (not .existingSecret) -}}
{{- println "events.webhook.url needs events.webhook.existingSecret: a Secret with what events are signed with" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The media service, which may not say less than what deletion relies on. */}}
{{- define "reconciler.validateMedia" -}}
{{- $media := .Values.media -}}
{{- if $media.enabled -}}
{{- if and (eq $media.access "public") .Values.mediaManagement.accessControlEnabled -}}
{{- println "media.access=public contradicts mediaManagement.accessControlEnabled=true: the media of a disabled key would still be served; use owner or signed" -}}
{{- end -}}
{{- if and (eq $media.access "signed") (not $media.links.existingSecret) -}}
{{- println "media.access=signed needs media.links.existingSecret: a Secret with what links are signed with" -}}
{{- end -}}
{{- if or (eq $media.host "localhost") (eq $media.host "::1") (hasPrefix "127." $media.host) -}}
{{- println (printf "media.host: %s cannot be reached from outside the pod: use 0.0.0.0, or :: where the cluster has IPv6 alone" $media.host) -}}
{{- end -}}
{{- if eq (int $media.port) (int .Values.web.port) -}}
{{- println (printf "media.port and web.port are both %d: metrics and media need a port each" (int $media.port)) -}}
{{- end -}}
{{- if and $media.autoscaling.enabled (gt (int $media.autoscaling.minReplicas) (int $media.autoscaling.maxReplicas)) -}}
{{- println "media.autoscaling.minReplicas is more than maxReplicas" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Ray's cluster, which compares inventories and nothing else. */}}
{{- define "reconciler.validateRay" -}}
{{- $inventory := .Values.inventory -}}
{{- if $inventory.ray.enabled -}}
{{- if or (ne $inventory.engine "ray") (eq .Values.sweep.source "list") -}}
{{- println "inventory.ray.enabled is true, but nothing would use it: set inventory.engine=ray, and sweep.source to an inventory" -}}
{{- end -}}
{{- if $inventory.directory -}}
{{- println "inventory.directory is a volume of the daemon's pod, which Ray's do not have: leave it empty where inventory.ray.enabled is true" -}}
{{- end -}}
{{- range .Values.extraEnv -}}
{{- if eq .name "RAY_ADDRESS" -}}
{{- println "extraEnv: RAY_ADDRESS is another cluster than that of inventory.ray: leave one of them out" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The CDN, whose provider has to know whom it is asked by, and about what. */}}
{{- define "reconciler.validateCdn" -}}
{{- $cdn := .Values.cdn -}}
{{- if and (eq $cdn.provider "webhook") (not $cdn.apiUrl) -}}
{{- println "cdn.provider=webhook needs cdn.apiUrl: the address that is told what to purge" -}}
{{- end -}}
{{- if and (not (has $cdn.provider (list "none" "webhook"))) (not $cdn.zone) -}}
{{- println (printf "cdn.provider=%s needs cdn.zone: what the provider calls what is purged" $cdn.provider) -}}
{{- end -}}
{{- if and (has $cdn.provider (list "cloudflare" "fastly" "bunny")) (not $cdn.token.existingSecret) -}}
{{- println (printf "cdn.provider=%s needs cdn.token.existingSecret: a Secret with the provider's API token" $cdn.provider) -}}
{{- end -}}
{{- if and (ne $cdn.provider "none") (not $cdn.url) (not $cdn.urlColumn) -}}
{{- println "cdn.url and cdn.urlColumn are both empty: then no object has a URL to purge" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validatePods" -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "RECONCILER_" .name -}}
{{- println (printf "extraEnv: %s is a setting of the reconciler: use the chart's value for it, which an environment variable would hide or contradict" .name) -}}
{{- end -}}
{{- end -}}
{{- if or (eq .Values.web.host "localhost") (eq .Values.web.host "::1") (hasPrefix "127." .Values.web.host) -}}
{{- println (printf "web.host: %s cannot be reached from outside the pod: use 0.0.0.0, or :: where the cluster has IPv6 alone" .Values.web.host) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- println "serviceMonitor.enabled and podMonitor.enabled are both true: every metric would be counted twice" -}}
{{- end -}}
{{- end -}}
