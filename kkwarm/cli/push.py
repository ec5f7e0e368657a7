"""`kkwarm push`."""

from __future__ import annotations

from pathlib import Path

import click

from kkwarm.cli.console import Whole, complete_runs, domain_option, echo_json, err_console, json_option, out_console
from kkwarm.errors import KkwarmError


@click.command()
@click.argument("run", shell_complete=complete_runs, type=click.Path(path_type=Path))
@click.option("--to", "repo", required=True, metavar="USER/NAME", help="Repository on the Hugging Face hub.")
@click.option("--condition", metavar="NAME", help="Condition of a study.  [default: the study's warmed RLVR]")
@click.option("--seed", type=Whole(0), help="Seed of the condition.  [default: the study's first]")
@click.option(
    "--results",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Bench run for the card of a training run, the baseline first and this checkpoint's last. Can be "
    "given several times.",
)
@click.option("--license", "license_id", metavar="ID", default="", help="Licence in the card, such as apache-2.0.")
@click.option("--private", is_flag=True, help="Create a private repository.")
@click.option("--update", is_flag=True, help="Add a commit to a repository that exists.")
@click.option("--dry-run", is_flag=True, help="Write the files into the folder of --out, and upload nothing.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder that --dry-run writes.  [default: RUN/hub]")
@domain_option
@json_option
def command(
    run: Path,
    repo: str,
    condition: str | None,
    seed: int | None,
    results: tuple[Path, ...],
    license_id: str,
    private: bool,
    update: bool,
    dry_run: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Push the checkpoint of RUN to the Hugging Face hub, with its tokenizer, results and model card.

    RUN is a training run, or a study, of which one condition and seed is pushed. The card names the training data by
    hash, the recipe, the transfer matrix with intervals, contamination, and the commands that reproduce it. Folders of
    this machine are not uploaded. A token is needed: `hf auth login`, or HF_TOKEN.
    """
    from kkwarm.exporters.push import prepare_push, require_token, upload, write_folder
    from kkwarm.store import Run, find_run

    if out is not None and not dry_run:
        raise KkwarmError("--out is the folder of --dry-run", hint="add --dry-run, or leave --out out")
    stored = Run.read(find_run(run))
    push = prepare_push(
        stored,
        repo,
        condition=condition,
        seed=seed,
        results=[find_run(path) for path in results],
        license_id=license_id,
    )
    size = f"{len(push.files)} files, {push.size / 2**20:,.1f} MiB"
    document = {"repo": repo, "files": list(push.files), "bytes": push.size, "dry_run": dry_run}
    if dry_run:
        folder = out or stored.path / "hub"
        write_folder(push, folder)
        document["folder"] = str(folder)
        text = f"{size} for {repo} in {folder}; nothing was uploaded"
    else:
        require_token()
        err_console().print(f"uploading {size} to {repo}", markup=False, soft_wrap=True)
        document["url"] = upload(push, private=private, update=update)
        text = f"pushed to {document['url']}"
    if as_json:
        echo_json(document)
    else:
        out_console().print(text, markup=False, soft_wrap=True)
