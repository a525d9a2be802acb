"""The metrics' reference is what the program exports, and queries can be held against it."""

from __future__ import annotations

from tools.metrics_reference import LABELS, REFERENCE, families, metric_labels, metric_names, reference


def test_the_reference_is_up_to_date() -> None:
    assert REFERENCE.read_text() == reference(), "run `python -m tools.metrics_reference`"


def test_names_are_those_that_queries_use() -> None:
    names = metric_names()
    assert {
        "media_reconciler_leader",
        "media_reconciler_actions_total",
        "media_reconciler_pass_duration_seconds_bucket",
        "media_reconciler_build_info",
        "process_start_time_seconds",
    } <= names
    assert "media_reconciler_actions" not in names
    assert metric_labels()["media_reconciler_actions_total"] == {"action", "result", "mode"}
    assert metric_labels()["media_reconciler_pass_duration_seconds_bucket"] == {"kind", "outcome", "le"}


def test_every_metric_says_what_it_means_and_who_exports_it() -> None:
    text = reference()
    for name, family in families().items():
        assert f"| `{name}` |" in text
        assert family.documentation.endswith(".")
    leader = text.partition("## Of the leader")[2].partition("## Of the process")[0]
    assert "`media_reconciler_drift_keys`" in leader
    assert "`media_reconciler_leader`" not in leader


def test_no_label_takes_its_values_from_keys() -> None:
    assert not {"key", "storage_key", "virtual_key"} & {
        label for labels in metric_labels().values() for label in labels
    }
    assert set(LABELS) <= {label for labels in metric_labels().values() for label in labels}
