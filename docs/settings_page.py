"""Writes docs/pages/settings.md from the definitions in `kkwarm.schema.settings`: ``python docs/settings_page.py``."""

from pathlib import Path

from pydantic.fields import FieldInfo

from kkwarm.cli.options import option_name
from kkwarm.schema.recipe import Assume
from kkwarm.schema.settings import (
    PANELS,
    BenchConfig,
    DistillConfig,
    RlvrConfig,
    Settings,
    WarmupConfig,
    describe_default,
    describe_values,
    extra_of,
)

PAGE = Path(__file__).parent / "pages" / "settings.md"
MODELS: dict[str, type[Settings]] = {
    "distill": DistillConfig,
    "warmup": WarmupConfig,
    "rlvr": RlvrConfig,
    "bench": BenchConfig,
}
HEAD = """# Settings

<!-- Written by docs/settings_page.py from the definitions in kkwarm/schema/settings.py. Do not edit. -->

Every setting is an option of its command, a key of [recipes](studies.md#write-a-recipe) and a field of the Python class
named below, with the same bounds and default. An option is named like its setting, with `-` for `_`; another name
stands in parentheses. A run resumes only if the settings marked with ✓ are equal: they decide
its result. Settings that have their default value do not change a run's identity.
"""
ASSUME_HEAD = """## [assume] of a recipe

Assumptions of the estimate that `kkwarm study RECIPE --dry-run` prints. They decide nothing else. Every key may be left
out. Rates are tokens per second of one worker; they follow from the number of parameters and the FLOP/s of a worker, 2
FLOPs for each parameter and generated token and 6 for a trained one.

| key | values | default | |
|---|---|---|---|"""


def render() -> str:
    """The page as Markdown."""
    parts = [HEAD]
    for command, model in MODELS.items():
        parts.append(f"## kkwarm {command}\n\nPython: `kkwarm.schema.settings.{model.__name__}`.\n")
        for panel in PANELS:
            rows = [row(model, name) for name, f in model.model_fields.items() if extra_of(f)["panel"] == panel]
            if rows:
                parts.append(f"**{panel}**\n\n| setting | values | default | ✓ | |\n|---|---|---|---|---|")
                parts.append("\n".join(rows) + "\n")
    parts += [ASSUME_HEAD, *(assume_row(name, field) for name, field in Assume.model_fields.items()), ""]
    return "\n".join(parts)


def assume_row(name: str, field: FieldInfo) -> str:
    unset = str(extra_of(field)["unset"])
    default = unset or str(field.default)
    return f"| `{name}` | {describe_values(field)} | {default} | {field.description} |"


def row(model: type[Settings], name: str) -> str:
    field = model.model_fields[name]
    option = option_name(model, name)
    if field.default is True:
        option = f"--no-{option[2:]}"
    usual = f"--{name.replace('_', '-')}"
    shown = f"`{name}`" if option == usual else f"`{name}` (`{option}`)"
    default = describe_default(field).removeprefix("default: ")
    mark = "✓" if extra_of(field)["identity"] else ""
    description = str(field.description).replace("|", "\\|").replace("<", "&lt;")
    return f"| {shown} | {describe_values(field)} | {default} | {mark} | {description} |"


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
