"""`dasr-fast weights`."""

import click

from dasr_fast.cli.common import print_table


@click.command()
@click.argument("name", required=False)
def weights(name: str | None) -> int:
    """List the weights that come with the package.

    The list says what each was trained for. With NAME, its model card is printed. Pictures of another kind can be
    super-resolved too, but often look worse: weights without noise sharpen the noise of a noisy picture.
    docs/accuracy.md in the repository has all figures.

    \b
    dasr-fast weights
    dasr-fast weights x4
    """
    from dasr_fast.models.checkpoint import card_facts, find_weights, shipped

    if name is not None:
        card = find_weights(name).with_suffix(".md")
        if not card.is_file():
            raise click.UsageError(f"{name} has no model card: there is no {card.name} beside it.")
        click.echo(card.read_text(encoding="utf-8").rstrip())
        return 0
    rows = []
    for known in shipped():
        facts = card_facts(known)
        rows.append([known, known[1], facts["degradation"], facts["licence"]])
    print_table("Weights that come with dasr-fast", ["name", "scale", "trained for", "licence"], rows)
    click.echo("dasr-fast weights NAME prints a model card; dasr-fast upscale --weights NAME uses the weights.")
    return 0
