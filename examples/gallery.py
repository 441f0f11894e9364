"""Draws the gallery of the documentation: an animated GIF a domain, from what a model plays best to worst.

    python examples/gallery.py --model model_cards/ldm-nano --output docs

writes ``docs/gallery.md`` and ``docs/media/gallery/*.gif``. Which environments are shown is not picked by hand: the
scores of a domain's families are sorted, and taken at equal distances.
"""

import argparse
import json
from pathlib import Path

from ldm_hf.demo.drawable import drawable
from ldm_hf.evaluation.playing import play_grid
from ldm_hf.utils.files import write_atomically

PAGE = """# Gallery

[ldm-nano](models/ldm-nano/README.md), one set of weights of 3.3 million parameters, plays. Each picture shows
environments of one domain, **from the one that it plays best to the one that it plays worst**: the scores of the
domain's [families](glossary.md#family) that can draw themselves are sorted, and taken at equal distances. A score is
0 % for random actions and 100 % for the [reference policy](glossary.md#reference-policy), of all held-out episodes
and not of the one that is shown. Those in italics were in no training.

`{command}` made this page.

To watch any other, and to change its world: [`ldm demo`](demo.md). Domains without a picture ({blind}) are played as
numbers; their scores are in the [results](results.md).
"""


def main() -> None:
    """Plays, and writes the pictures and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("model_cards/ldm-nano"), help="folder with its results")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="folder of the page")
    parser.add_argument("--domains", nargs="+", help="only these; all by default")
    parser.add_argument("--shown", type=int, default=6, help="environments in a picture, at most")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a picture")
    parser.add_argument("--side", type=int, default=128, help="width and height of an environment in pixels")
    parser.add_argument("--fps", type=int, default=8, help="frames per second")
    args = parser.parse_args()
    scores, trained = read_scores(args.model)
    domains: dict[str, list[str]] = {}
    for name, row in drawable().items():
        if name in scores:
            domains.setdefault(row.domain, []).append(name)
    domains = {
        domain: names for domain, names in sorted(domains.items()) if not args.domains or domain in args.domains
    }
    every = {row["domain"] for row in trained.values()}
    command = f"python examples/gallery.py --model {args.model} --output {args.output}"
    parts = [PAGE.format(command=command, blind=", ".join(sorted(every - set(domains))).replace("_", " "))]
    for domain, names in domains.items():
        chosen = choose(names, scores, args.shown)
        path = args.output / "media/gallery" / f"{domain}.gif"
        path.parent.mkdir(parents=True, exist_ok=True)
        failures = play_grid(str(args.model), chosen, path, args.seconds, args.side, args.fps)
        title = domain.replace("_", " ")
        told = [
            f"{name} {scores[name]:.0%}" if name in trained else f"*{name} {scores[name]:.0%}*"
            for name in chosen
            if name not in failures
        ]
        parts.append(f"## {title.capitalize()}\n\n![{title}](media/gallery/{path.name})\n\n{', '.join(told)}\n")
    write_atomically(args.output / "gallery.md", "\n".join(parts))


def read_scores(model: Path) -> tuple[dict[str, float], dict[str, dict]]:
    """Normalised scores of all environments, and the results of those that were in the training."""
    trained = json.loads((model / "results.json").read_text(encoding="utf-8"))["environments"]
    unseen = model / "results-unseen.json"
    others = json.loads(unseen.read_text(encoding="utf-8"))["environments"] if unseen.exists() else {}
    return {name: entry["normalised"] for name, entry in (others | trained).items()}, trained


def choose(names: list[str], scores: dict[str, float], shown: int) -> list[str]:
    """One environment of each family, at equal distances from the best score to the worst."""
    families = {drawable()[name].family: name for name in sorted(names, key=lambda name: (scores[name], name))}
    ordered = sorted(families.values(), key=lambda name: (-scores[name], name))
    shown = min(shown, len(ordered))
    return [ordered[round(index * (len(ordered) - 1) / max(1, shown - 1))] for index in range(shown)]


if __name__ == "__main__":
    main()
