{{/*
Refuses values that must be mistakes, with one line each that says what to do. The schema refuses what it can see; these
checks hold where it is skipped, too.
*/}}
{{- define "reconciler.validate" -}}
{{- include "reconciler.validateSite" . -}}
{{- include "reconciler.validateCredentials" . -}}
{{- include "reconciler.validateDeletion" . -}}
{{- include "reconciler.validatePods" . -}}
{{- include "reconciler.validateNothing" . -}}
{{- end -}}

{{/*
A value of null: helm takes the chart's default away for it, and a running daemon refuses the whole file then, a dry
run in the same file included.
*/}}
{{- define "reconciler.validateNothing" -}}
{{- $settings := printf "%s\n%s" (include "reconciler.staticSettings" .) (include "reconciler.runtimeSettings" .) -}}
{{- range $line := splitList "\n" $settings -}}
{{- if hasSuffix ": null" $line -}}
{{- fail (printf "the setting %s has no value: null takes the chart's default away; leave the value out to have the default" (trimSuffix ": null" (trim $line))) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Which bucket, which part of it, which database. */}}
{{- define "reconciler.validateSite" -}}
{{- $v := .Values -}}
{{- if not $v.bucket.name -}}
{{- fail "bucket.name is not set: name the bucket, such as --set bucket.name=media" -}}
{{- end -}}
{{- if not $v.bucket.prefixes -}}
{{- fail "bucket.prefixes is not set: list the managed prefixes, such as --set 'bucket.prefixes={image/,video/}'" -}}
{{- end -}}
{{- if and (has "" $v.bucket.prefixes) (ne (toString $v.bucket.wholeBucket) "true") -}}
{{- fail "bucket.prefixes holds an empty one, which is the whole bucket: list the managed prefixes, or set bucket.wholeBucket=true if all of it is meant" -}}
{{- end -}}
{{- range $prefix := $v.bucket.prefixes -}}
{{- if and $prefix (not (hasSuffix "/" $prefix)) -}}
{{- fail (printf "bucket.prefixes: %q has to end in \"/\", else it would take in its siblings" $prefix) -}}
{{- end -}}
{{- if hasPrefix ".reconciler/" $prefix -}}
{{- fail (printf "bucket.prefixes: %q is the reconciler's own corner of the bucket and is never managed" $prefix) -}}
{{- end -}}
{{- range $other := $v.bucket.prefixes -}}
{{- if and (ne $prefix $other) (hasPrefix $prefix $other) -}}
{{- fail (printf "bucket.prefixes: %q is inside %q: name each key once, so drop one of the two" $other $prefix) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (or $v.database.url $v.database.existingSecret) -}}
{{- fail "database.existingSecret is not set: name a Secret with the database's address, such as --set database.existingSecret=reconciler-database" -}}
{{- end -}}
{{- if and $v.database.url $v.database.existingSecret -}}
{{- fail "database.url and database.existingSecret are both set: leave one of them out" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validateCredentials" -}}
{{- $credentials := .Values.bucket.credentials -}}
{{- if and $credentials.existingSecret $credentials.accessKeyId -}}
{{- fail "bucket.credentials.existingSecret and bucket.credentials.accessKeyId are both set: leave one of them out" -}}
{{- end -}}
{{- if ne (empty $credentials.accessKeyId) (empty $credentials.secretAccessKey) -}}
{{- fail "bucket.credentials.accessKeyId and bucket.credentials.secretAccessKey belong together: set both or neither" -}}
{{- end -}}
{{- if and $credentials.asFile (not (include "reconciler.hasCredentials" .)) -}}
{{- fail "bucket.credentials.asFile is set, but there are no credentials: set bucket.credentials.existingSecret too" -}}
{{- end -}}
{{- if and (include "reconciler.hasCredentials" .) (hasKey .Values.serviceAccount.annotations "eks.amazonaws.com/role-arn") -}}
{{- fail "bucket.credentials would hide the role in serviceAccount.annotations: leave one of them out" -}}
{{- end -}}
{{- end -}}

{{/* What may go: a flag that is text, such as "false", would count as true. */}}
{{- define "reconciler.validateDeletion" -}}
{{- $v := .Values -}}
{{- $media := $v.mediaManagement -}}
{{- if not (kindIs "bool" $v.dryRun) -}}
{{- fail "dryRun has to be true or false: use --set, not --set-string" -}}
{{- end -}}
{{- range $name := list "enableOwnershipTracking" "enableAutoCleanup" "orphanCleanupEnabled" "danglingCleanupEnabled" "accessControlEnabled" -}}
{{- if not (kindIs "bool" (get $media $name)) -}}
{{- fail (printf "mediaManagement.%s has to be true or false: use --set, not --set-string" $name) -}}
{{- end -}}
{{- end -}}
{{- if lt (int64 $media.mediaRetentionDays) 1 -}}
{{- fail "mediaManagement.mediaRetentionDays has to be at least 1: 0 would empty the bucket" -}}
{{- end -}}
{{- if and (ne $media.revokedKeyPolicy "keep") (not $media.accessControlEnabled) -}}
{{- fail "mediaManagement.revokedKeyPolicy=delete needs mediaManagement.accessControlEnabled=true: without access control, public links still serve a disabled key's media" -}}
{{- end -}}
{{- if and (ne (toString $v.maxDeletesPerSecond) "unlimited") (le (float64 $v.maxDeletesPerSecond) 0.0) -}}
{{- fail "maxDeletesPerSecond has to be a positive number or unlimited; to delete nothing, set dryRun=true" -}}
{{- end -}}
{{- if or (lt (float64 $v.breaker.maxFraction) 0.0) (gt (float64 $v.breaker.maxFraction) 1.0) -}}
{{- fail "breaker.maxFraction has to be from 0 to 1, such as 0.1 for ten per cent" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validatePods" -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "RECONCILER_" .name -}}
{{- fail (printf "extraEnv: %s is a setting of the reconciler: use the chart's value for it, which an environment variable would hide or contradict" .name) -}}
{{- end -}}
{{- end -}}
{{- if lt (int64 .Values.terminationGracePeriodSeconds) 30 -}}
{{- fail "terminationGracePeriodSeconds has to be at least 30: a batch in hand may take 20 s, and the lease's release 5 s" -}}
{{- end -}}
{{- if or (eq .Values.web.host "localhost") (eq .Values.web.host "::1") (hasPrefix "127." .Values.web.host) -}}
{{- fail (printf "web.host: %s cannot be reached from outside the pod: use 0.0.0.0, or :: where the cluster has IPv6 alone" .Values.web.host) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: every metric would be counted twice" -}}
{{- end -}}
{{- end -}}
