{{/*
Compares the values with files/values.schema.json, and says in words what is wrong: one line each, all at once. It
reads no more of JSON Schema than that file uses; a test compares it with a whole implementation.
*/}}

{{/* What is wrong with a value: a list of the schema, the part of it that the value has to fit, the value, its path. */}}
{{- define "reconciler.faults" -}}
{{- $schema := index . 0 -}}
{{- $part := index . 1 -}}
{{- $value := index . 2 -}}
{{- $path := index . 3 -}}
{{- with get $part "$ref" -}}
{{- $part = get $schema.definitions (base .) -}}
{{- end -}}
{{- if include "reconciler.misfit" (list $part $value) -}}
{{- include "reconciler.misfitTold" (list $part $value $path) }}
{{ else if kindIs "slice" $value -}}
{{- range $index, $item := $value -}}
{{- include "reconciler.faults" (list $schema (get $part "items" | default dict) $item (printf "%s[%d]" $path $index)) -}}
{{- end -}}
{{- else if kindIs "map" $value -}}
{{- $known := get $part "properties" | default dict -}}
{{- $others := get $part "additionalProperties" -}}
{{- range $name, $inner := $value -}}
{{- $at := ternary (printf "%s.%s" $path $name) $name (ne $path "") -}}
{{- if hasKey $known $name -}}
{{- include "reconciler.faults" (list $schema (get $known $name) $inner $at) -}}
{{- else if kindIs "map" $others -}}
{{- with get $part "propertyNames" -}}
{{- include "reconciler.faults" (list $schema . $name (printf "%s: the name" $path)) -}}
{{- end -}}
{{- include "reconciler.faults" (list $schema $others $inner $at) -}}
{{- else if eq (toString $others) "false" -}}
{{- printf "%s: there is no such value; %s" $at (include "reconciler.meant" (list $schema $known $name $path)) }}
{{ end -}}
{{- end -}}
{{- range $name, $section := $known -}}
{{- $section = get $schema.definitions (get $section "$ref" | base) | default $section -}}
{{- if and $section.properties (not (hasKey $value $name)) -}}
{{- $at := ternary (printf "%s.%s" $path $name) $name (ne $path "") -}}
{{- println (printf "%s has no value: null takes the chart's defaults away; leave it out to have them" $at) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a value is wrong by itself, whatever is in it: a list of the part of the schema and the value. */}}
{{- define "reconciler.misfit" -}}
{{- $part := index . 0 -}}
{{- $value := index . 1 -}}
{{- $type := include "reconciler.typeOf" $value -}}
{{- if and $part.type (not (has $type (include "reconciler.types" $part | splitList " "))) -}}true
{{- else if and (hasKey $part "enum") (not (has $value $part.enum)) -}}true
{{- else if has $type (list "integer" "number") -}}
{{- $number := float64 $value -}}
{{- if and (hasKey $part "minimum") (lt $number (float64 $part.minimum)) -}}true{{- end -}}
{{- if and (hasKey $part "maximum") (gt $number (float64 $part.maximum)) -}}true{{- end -}}
{{- if and (hasKey $part "exclusiveMinimum") (le $number (float64 $part.exclusiveMinimum)) -}}true{{- end -}}
{{- else if eq $type "string" -}}
{{- $length := regexFindAll "(?s)." $value -1 | len | float64 -}}
{{- if and (hasKey $part "pattern") (not (regexMatch $part.pattern $value)) -}}true{{- end -}}
{{- if and (hasKey $part "minLength") (lt $length (float64 $part.minLength)) -}}true{{- end -}}
{{- if and (hasKey $part "maxLength") (gt $length (float64 $part.maxLength)) -}}true{{- end -}}
{{- else if eq $type "array" -}}
{{- if and (hasKey $part "minItems") (lt (len $value | float64) (float64 $part.minItems)) -}}true{{- end -}}
{{- if and $part.uniqueItems (ne (len $value) (len (uniq $value))) -}}true{{- end -}}
{{- else if eq $type "object" -}}
{{- range $name := $part.required -}}
{{- if not (hasKey $value $name) -}}true{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The words for that, with the value as far as it cannot be a secret. */}}
{{- define "reconciler.misfitTold" -}}
{{- $part := index . 0 -}}
{{- $value := index . 1 -}}
{{- index . 2 -}}
{{- if not $part.writeOnly }} is {{ regexReplaceAll "(?s)^(.{60}).+$" (toJson $value) "${1}…" }}{{- end -}}
: it has to {{ include "reconciler.wanted" $part -}}
{{- $type := include "reconciler.typeOf" $value -}}
{{- $types := include "reconciler.types" $part | splitList " " -}}
{{- if not (has $type $types) -}}
{{- $first := index $types 0 -}}
{{- if and (has $first (list "boolean" "integer" "number")) (regexMatch "^(true|false|[0-9.]+)$" (toString $value)) -}}
; use --set, not --set-string, and no quotes
{{- else if and (eq $type "object") (has "string" $types) -}}
; in --set, a dot within a name is written \. (such as annotations.example\.com/name=x)
{{- else if and (has "string" $types) (has $type (list "boolean" "integer")) (regexMatch (default "" $part.pattern) (toString $value)) -}}
; use --set-string, or put it in quotes
{{- else if and (eq $first "array") (not $part.says) -}}
; in --set, a list is written {a,b}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "reconciler.wanted" -}}
{{- $types := include "reconciler.types" . | splitList " " -}}
{{- if .says -}}{{ .says }}
{{- else if .enum -}}be one of {{ range $index, $word := .enum }}{{ if $index }}, {{ end }}{{ default "\"\"" $word }}{{ end }}
{{- else if .required -}}have {{ join " and " .required }}
{{- else -}}
be {{ get (dict "boolean" "true or false" "integer" "a whole number" "number" "a number" "string" "text" "array" "a list" "object" "a section of names and values") (index $types 0) -}}
{{- if and (hasKey . "minimum") (hasKey . "maximum") }} from {{ toJson .minimum }} to {{ toJson .maximum }}
{{- else if hasKey . "minimum" }} of at least {{ toJson .minimum }}
{{- else if hasKey . "exclusiveMinimum" }} above {{ toJson .exclusiveMinimum }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A value's type in JSON Schema's words, and the types that a part allows, with spaces between them. */}}
{{- define "reconciler.typeOf" -}}
{{- $kind := kindOf . -}}
{{- if hasPrefix "int" $kind -}}integer
{{- else if eq $kind "float64" -}}{{ ternary "integer" "number" (eq . (floor .)) }}
{{- else -}}{{ get (dict "bool" "boolean" "string" "string" "map" "object" "slice" "array" "invalid" "null") $kind }}
{{- end -}}
{{- end -}}

{{- define "reconciler.types" -}}
{{- $types := kindIs "slice" .type | ternary .type (list .type) -}}
{{- if has "number" $types }}{{ $types = append $types "integer" }}{{ end -}}
{{- join " " $types -}}
{{- end -}}

{{/*
What a name that there is not may have meant: a name of its section that is spelt alike, else one of the same
spelling elsewhere, else what there is. A list of the schema, the section's properties, the name, the section's path.
*/}}
{{- define "reconciler.meant" -}}
{{- $schema := index . 0 -}}
{{- $known := index . 1 -}}
{{- $name := index . 2 -}}
{{- $path := index . 3 -}}
{{- $found := list -}}
{{- $best := 0.6 -}}
{{- range $other := keys $known | sortAlpha -}}
{{- $likeness := include "reconciler.likeness" (list $name $other) | float64 -}}
{{- if gt $likeness $best -}}
{{- $best = $likeness -}}
{{- $found = list (ternary (printf "%s.%s" $path $other) $other (ne $path "")) -}}
{{- end -}}
{{- end -}}
{{- if not $found -}}
{{- range $section, $part := $schema.properties -}}
{{- range $other := prepend (keys ($part.properties | default dict) | sortAlpha) "" -}}
{{- if eq (include "reconciler.plain" $name) (include "reconciler.plain" (default $section $other)) -}}
{{- $found = append $found (list $section $other | compact | join ".") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $found -}}did you mean {{ join " or " $found }}?
{{- else if $path -}}{{ $path }} has {{ keys $known | sortAlpha | join ", " }}
{{- else -}}`helm show values` lists all there are
{{- end -}}
{{- end -}}

{{/* How alike two names are, from 0 to 1: the share of the pairs of letters that both have. */}}
{{- define "reconciler.likeness" -}}
{{- $one := include "reconciler.pairs" (index . 0) | splitList " " -}}
{{- $other := include "reconciler.pairs" (index . 1) | splitList " " -}}
{{- $shared := 0 -}}
{{- range $pair := $one -}}
{{- if has $pair $other -}}{{- $shared = add $shared 1 -}}{{- end -}}
{{- end -}}
{{- divf (mul 2 $shared) (add (len $one) (len $other)) -}}
{{- end -}}

{{- define "reconciler.pairs" -}}
{{- $name := include "reconciler.plain" . -}}
{{- $pairs := list -}}
{{- range $at := until (sub (len $name) 1 | max 0 | int) -}}
{{- $pairs = append $pairs (substr $at (add $at 2 | int) $name) -}}
{{- end -}}
{{- join " " $pairs -}}
{{- end -}}

{{/* A name without what tells spellings apart: dry_run, dry-run and dryRun are one. */}}
{{- define "reconciler.plain" -}}
{{- . | lower | replace "_" "" | replace "-" "" -}}
{{- end -}}
