{{/*
What cannot be meant, told in one line each. The schema refuses what it can see in one value; these also hold where
it is skipped, and where values contradict each other.
*/}}
{{- define "reconciler.validate" -}}
{{- $v := .Values -}}
{{- if not $v.bucket.name -}}
{{- fail "bucket.name is not set: name the bucket, such as --set bucket.name=media" -}}
{{- end -}}
{{- if not $v.bucket.prefixes -}}
{{- fail "bucket.prefixes is not set: list the managed prefixes, such as --set 'bucket.prefixes={image/,video/}'; [\"\"] is the whole bucket" -}}
{{- end -}}
{{- if not (or $v.database.url $v.database.existingSecret) -}}
{{- fail "the database is not set: name a Secret with its address, such as --set database.existingSecret=reconciler-database" -}}
{{- end -}}
{{- end -}}
