"""Writes docs/pages/model_card.md from the kept miniature: ``python docs/model_card_page.py``."""

import json
from pathlib import Path

from kkwarm.reporting.model_card import Card, card_text
from kkwarm.schema.report import parse_report

PAGE = Path(__file__).parent / "pages" / "model_card.md"
KEPT = Path(__file__).parents[1] / "benchmarks" / "results" / "mini_model_card.json"
HEAD = """# A model card

<!-- Written by docs/model_card_page.py from benchmarks/results/mini_study.json and mini_model_card.json. Do not edit. -->

`kkwarm push` writes such a card as `README.md` of the repository. This one is of the miniature's study:

```bash
kkwarm study mini
kkwarm push runs/mini-a1bdd7da --to someone/mini-warmed-rlvr --license apache-2.0
```

The metadata at the top of the file is for the hub:

```yaml
{metadata}
```

The rest is for readers:

---

{text}"""


def render() -> str:
    """The page: the card's metadata as a listing, and its text one level of headings lower."""
    kept = json.loads(KEPT.read_text("utf-8"))
    card = Card(
        kept["name"],
        "kkwarm_mini/base",
        kept["stages"],
        parse_report(KEPT.with_name("mini_study.json").read_bytes()),
        kept["condition"],
        kept["seed"],
        license="apache-2.0",
    )
    _, metadata, text = card_text(card).split("---\n", 2)
    lowered = [f"#{line}" if line.startswith("#") else line for line in text.strip().splitlines()]
    return HEAD.format(metadata=metadata.strip(), text="\n".join(lowered) + "\n")


if __name__ == "__main__":
    PAGE.write_text(render(), "utf-8")
