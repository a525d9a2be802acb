{{/*
Refuses values that must be mistakes, in words that say what to write: first what the schema can tell of each value, then
what several values together tell.
*/}}
{{- define "reconciler.validate" -}}
{{- include "reconciler.validateSchema" . -}}
{{- include "reconciler.validateSite" . -}}
{{- include "reconciler.validateCredentials" . -}}
{{- include "reconciler.validateDeletion" . -}}
{{- include "reconciler.validatePods" . -}}
{{- include "reconciler.validateNothing" . -}}
{{- end -}}

{{- define "reconciler.validateSchema" -}}
{{- $schema := .Files.Get "files/values.schema.json" | fromJson -}}
{{- range $name, $part := $schema.properties -}}
{{- if and $part.properties (not (hasKey $.Values $name)) -}}
{{- fail (printf "%s has no value: null takes the chart's defaults away; leave it out to have them" $name) -}}
{{- end -}}
{{- end -}}
{{- $faults := include "reconciler.faults" (list $schema $schema .Values.AsMap "") | trim -}}
{{- if $faults -}}
{{- $lines := splitList "\n" $faults -}}
{{- if gt (len $lines) 1 -}}
{{- $faults = printf "%d values are wrong:\n- %s" (len $lines) (join "\n- " $lines) -}}
{{- end -}}
{{- fail $faults -}}
{{- /* `helm lint` makes nothing of `fail`: for it, ask for a template of that name. */ -}}
{{- include $faults . -}}
{{- end -}}
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

{{- define "reconciler.validateDeletion" -}}
{{- $media := .Values.mediaManagement -}}
{{- if and (eq $media.revokedKeyPolicy "delete") (not $media.accessControlEnabled) -}}
{{- fail "mediaManagement.revokedKeyPolicy=delete needs mediaManagement.accessControlEnabled=true: without access control, public links still serve a disabled key's media" -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.validatePods" -}}
{{- range .Values.extraEnv -}}
{{- if hasPrefix "RECONCILER_" .name -}}
{{- fail (printf "extraEnv: %s is a setting of the reconciler: use the chart's value for it, which an environment variable would hide or contradict" .name) -}}
{{- end -}}
{{- end -}}
{{- if or (eq .Values.web.host "localhost") (eq .Values.web.host "::1") (hasPrefix "127." .Values.web.host) -}}
{{- fail (printf "web.host: %s cannot be reached from outside the pod: use 0.0.0.0, or :: where the cluster has IPv6 alone" .Values.web.host) -}}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled .Values.podMonitor.enabled -}}
{{- fail "serviceMonitor.enabled and podMonitor.enabled are both true: every metric would be counted twice" -}}
{{- end -}}
{{- end -}}
