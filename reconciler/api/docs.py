"""A page that describes the API, made of the OpenAPI document alone: it loads nothing and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from reconciler.api.routing import ROLE

STYLE = """\
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
code, pre { font: 14px/1.45 ui-monospace, monospace; overflow-wrap: anywhere }
pre { overflow-x: auto; padding: .5rem; border: 1px solid #8886 }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .5rem; border-bottom: 1px solid #8886 }
section { margin: 2rem 0; border-top: 2px solid #8888 }
"""

Operation: TypeAlias = Mapping[str, Any]

PLAIN: Mapping[str, object] = {"integer": 0, "number": 0.0, "boolean": False, "string": "…"}
"""An example of each type."""


def page(document: Mapping[str, Any]) -> tuple[str, str]:
    """The page, and the content security policy under which it is to be shown."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'; base-uri 'none'"
    info = document["info"]
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width">',
        f"<title>{_text(info['title'])} API</title><style>{STYLE}</style></head><body><main>",
        f"<h1>{_text(info['title'])} {_text(info['version'])}</h1>",
        *(f"<p>{_text(each)}</p>" for each in info["description"].strip().split("\n\n")),
        '<p>For programs: <a href="openapi.json">openapi.json</a>, OpenAPI 3.1.</p><ul>',
        *(
            f'<li><a href="#{_text(each["operationId"])}"><code>{method} {_text(path)}</code></a></li>'
            for method, path, each in _operations(document)
        ),
        "</ul>",
        *(_section(document, method, path, each) for method, path, each in _operations(document)),
        "</main></body></html>",
    ]
    return "\n".join(parts), policy


def _operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Operation]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def _section(document: Mapping[str, Any], method: str, path: str, operation: Operation) -> str:
    parts = [
        f'<section id="{_text(operation["operationId"])}"><h2><code>{method} {_text(path)}</code></h2>',
        f"<p>Role: <strong>{_text(operation[ROLE])}</strong>.</p>",
        *(f"<p>{_text(each)}</p>" for each in operation.get("description", "").split("\n\n")),
    ]
    if parameters := operation.get("parameters"):
        parts += ["<table><thead><tr><th>parameter</th><th>in</th><th>meaning</th></tr></thead><tbody>"]
        parts += [
            f"<tr><td><code>{_text(each['name'])}</code></td><td>{_text(each['in'])}</td>"
            f"<td>{_text(each.get('description', ''))}</td></tr>"
            for each in parameters
        ]
        parts += ["</tbody></table>"]
    if body := operation.get("requestBody"):
        parts += ["<h3>Body</h3>", _example(document, body["content"]["application/json"])]
    parts += ["<h3>Answers</h3>"]
    for status, answer in operation["responses"].items():
        parts += [f"<p><strong>{status}</strong> {_text(answer['description'])}</p>"]
        if status.startswith("2") and (content := answer.get("content", {}).get("application/json")):
            parts += [_example(document, content)]
    return "\n".join([*parts, "</section>"])


def _example(document: Mapping[str, Any], content: Mapping[str, Any]) -> str:
    shown = json.dumps(_of_schema(document, content.get("schema", {})), indent=2, ensure_ascii=False)
    return f"<pre>{_text(shown)}</pre>"


def _of_schema(document: Mapping[str, Any], schema: Mapping[str, Any]) -> object:
    """A value that the schema allows, from its examples."""
    if reference := schema.get("$ref"):
        return _of_schema(document, document["components"]["schemas"][reference.rpartition("/")[2]])
    if examples := schema.get("examples", schema.get("enum")):
        return examples[0]
    if choices := schema.get("anyOf", schema.get("oneOf", schema.get("allOf"))):
        return _of_schema(document, choices[0])
    if schema.get("type") == "object":
        return {name: _of_schema(document, each) for name, each in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [_of_schema(document, schema.get("items", {}))]
    return schema.get("default", PLAIN.get(schema.get("type", "")))


def _text(text: str) -> str:
    return html.escape(text)
