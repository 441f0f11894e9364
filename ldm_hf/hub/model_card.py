"""The repo of a model: weights, code that runs without this package, and the card made from what was measured."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..environments.specs import catalogue, families
from ..errors import CheckpointError
from ..evaluation.report import domain_rows
from ..evaluation.scores import EnvironmentResult, Results, family_scores, is_matched, summarise
from ..rollouts.returns import BAR
from ..utils.files import read_json, write_atomically
from ..utils.tables import markdown_table

METRICS = {  # of the header
    "share_at_80_percent": "share of environments at 80 % of the reference",
    "iqm_normalised_score": "interquartile mean of normalised scores",
}
NAMED = 10  # environments that a command is shown with; of more, how many


def write_card(
    folder: str | Path, name: str | None = None, datasets: list[str] | None = None, licence: str = "apache-2.0"
) -> Path:
    """Writes ``README.md`` from what is in the folder of a model; nothing is said that is not recorded there.

    It reads the files of `export_model`, ``results.json`` of `ldm evaluate` with the curve and tables beside it, and,
    where they exist, ``results-incognito.json``, ``results-unseen.json`` (environments that were held out) and
    ``replay.mp4``.

    Args:
        folder: Folder of the model.
        name: Title; the folder's name by default.
        datasets: Hub ids of the trajectories.
        licence: Licence of the weights, as the Hub spells it.

    Raises:
        CheckpointError: If the folder lacks a model or its results; says how to make them.
    """
    folder = Path(folder)
    name = name or folder.resolve().name
    for needed, cure in (
        ("model.safetensors", f"ldm export --model MODEL --output {folder}"),
        ("results.json", f"ldm evaluate --model {folder} --output {folder}/results.json"),
    ):
        if not (folder / needed).exists():
            raise CheckpointError(f"{folder} has no {needed}, which the card needs; make it with `{cure}`.")
    results: Results = _read(folder / "results.json")
    try:
        header = _metadata(name, results, datasets, licence).to_yaml()
        card = ModelCard(f"---\n{header}\n---\n\n{_text(folder, name, results)}")
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise CheckpointError(
            f"results.json or another record in {folder} is damaged ({error!r}); evaluate the model again."
        ) from error
    write_atomically(folder / "README.md", str(card))
    return folder / "README.md"


def _read(path: Path) -> Any:
    """The content of a JSON file; None if there is no such file."""
    if not path.exists():
        return None
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged ({error}); make it again.") from error


def _metadata(name: str, results: Results, datasets: list[str] | None, licence: str) -> ModelCardData:
    """The header that the Hub reads: two metrics for all environments and for each domain."""
    domains: dict[str, dict[str, EnvironmentResult]] = defaultdict(dict)
    for environment, entry in results["environments"].items():
        domains[entry["domain"]][environment] = entry
    summaries = {domain: summarise(domains[domain], intervals=False) for domain in sorted(domains)}
    measured = [
        EvalResult(
            task_type="reinforcement-learning",
            dataset_type=group,
            dataset_name=f"{group}, {summary['n']} environments",
            metric_type=metric,
            metric_name=METRICS[metric],
            metric_value=round(value or 0.0, 3),
        )
        for group, summary in ({"all": results["summary"]} | summaries).items()
        for metric, value in zip(METRICS, (summary["at_least_80"] / summary["n"], summary["iqm"]), strict=True)
    ]
    return ModelCardData(
        model_name=name,
        eval_results=measured,
        license=licence,
        library_name="transformers",
        pipeline_tag="reinforcement-learning",
        tags=["ldm", "large-decision-model", "gymnasium", "imitation-learning"],
        datasets=datasets,
    )


def _text(folder: Path, name: str, results: Results) -> str:
    parts = [_introduction(folder, name, results), _use(name, results), _results(folder, results)]
    return "\n\n".join([*parts, _training(folder), _data(results), _limits(folder, results)]) + "\n"


def _introduction(folder: Path, name: str, results: Results) -> str:
    summary, domains = results["summary"], {entry["domain"] for entry in results["environments"].values()}
    count = families(results["environments"])
    at_bar = sum(score >= BAR for score in family_scores(results["environments"]).values())
    matched = sum(is_matched(entry["ldm"], entry["reference"]) for entry in results["environments"].values())
    millions = (folder / "model.safetensors").stat().st_size / 2e6
    text = f"""# {name}

A Large Decision Model: one transformer of {millions:.1f} million parameters that acts in {summary["n"]} Gymnasium
environments of {count} families (those of one differ in numbers of one world) and {len(domains)} domains, with one set
of weights, step after step. It reads the history of observations,
actions, rewards and termination signals, one token per step, and predicts what a task-specific reference policy would
do. Made with the package `ldm_hf`, after the idea of *Towards Scalable Multi-Task Reinforcement Learning with Large
Decision Models* ([arXiv 2606.24962](https://arxiv.org/abs/2606.24962)).

**{summary["at_least_80"]} of {summary["n"]} environments at 80 % of their reference policy or more**
({summary["at_least_80_history_only"]} without the task text), interquartile mean
{100 * (summary["iqm"] or 0):.0f} %; {at_bar} of {count} families.
In {matched} environments it matches the reference: by a one-sided test at 95 % over the returns of the episodes, it is
not below it."""
    video = '\n\n<video src="replay.mp4" controls autoplay loop muted></video>'
    return text + (video if (folder / "replay.mp4").exists() else "")


def _use(name: str, results: Results) -> str:
    rows = catalogue()
    # one whose library everybody has
    environment = min(results["environments"], key=lambda e: (e not in rows or rows[e].library != "gymnasium", e))
    return f"""## Use

```python
from ldm_hf import LDMAgent
from ldm_hf.environments import make

env = make("{environment}")  # a name of the catalogue; any other Gymnasium environment does, too
agent = LDMAgent.from_pretrained("{name}", env, environment="{environment}")  # this repo's id, or a folder
observation, info = env.reset(seed=0)
action = agent.act(observation)
```

and after every `env.step` again: `action = agent.act(observation, reward, terminated, truncated, info)`. The bare model
is `LDMForActionPrediction.from_pretrained`, or without the package `AutoModel.from_pretrained(...,
trust_remote_code=True)` with `AutoProcessor`. The agent is in the repo, too; whoever trusts its code gets it by
`LDMAgent = get_class_from_dynamic_module("agent.LDMAgent", "{name}")` from `transformers.dynamic_module_utils`."""


def _results(folder: Path, results: Results) -> str:
    episodes = min(entry["ldm"]["episodes"] for entry in results["environments"].values())
    text = f"""## Results

{episodes} or more episodes each on held-out seeds, greedy; random, reference and model by the same code
(`{results["command"]}`). 0 %: random actions, 100 %: reference policy; in brackets without the task text. Last column:
of the environments with a published score of an agent under the same conditions, how many are at 80 % of that.

{markdown_table(*domain_rows(results))}

[Every environment](results.md) · [all returns](results.json)"""
    return text + (
        "\n\n![Environments at or above each fraction of the reference](results.png)"
        if (folder / "results.png").exists()
        else ""
    )


def _training(folder: Path) -> str:
    last = _read(folder / "training.json")
    if not last:
        return "## Training\n\nNot recorded."
    runs = [*last.pop("former_runs", []), last]
    start = runs[0]["arguments"].get("model") or runs[0]["arguments"].get("backbone")
    lines = [f"From {start}" if start else "From scratch", *(["and on"] * (len(runs) - 1))]
    told = [
        f"{begun}, next-action prediction, {run['steps']:,} steps "
        f"({run['transitions'] / 1e6:.1f} million transitions) in {run['minutes']:.0f} minutes, with\n"
        f"`{_flags(run['arguments'])}`."
        for begun, run in zip(lines, runs, strict=True)
    ]
    told[-1] += " Losses: `training_log.jsonl`."
    if len(runs) > 1:
        told = [f"{number}. {text[0].upper()}{text[1:]}" for number, text in enumerate(told, 1)]
    return "## Training\n\n" + "\n".join(told)


def _flags(arguments: dict[str, object]) -> str:
    values = {
        name: [f"({len(value)} names)"] if isinstance(value, list) and len(value) > NAMED else value
        for name, value in arguments.items()
        if value not in (None, False, [])
    }
    return " ".join(
        f"--{name} {' '.join(map(str, value)) if isinstance(value, list) else value}" for name, value in values.items()
    )


def _data(results: Results) -> str:
    rows = catalogue()
    libraries: dict[tuple[str, str], list[str]] = defaultdict(list)
    for environment in sorted(results["environments"]):
        row = rows.get(environment)
        key = (row.library, row.licence or "not recorded") if row else ("-", "not recorded")
        libraries[key].append(environment)
    table = markdown_table(
        ["library", "licence", "environments"],
        [[*key, ", ".join(members)] for key, members in sorted(libraries.items())],
    )
    return f"""## Environments

Those of the results, under the licences of their libraries:

{table}"""


def _limits(folder: Path, results: Results) -> str:
    short = {name: entry["normalised"] for name, entry in results["environments"].items() if entry["normalised"] < BAR}
    named = ", ".join(
        f"{name} ({100 * score:.0f} %)" for name, score in sorted(short.items(), key=lambda item: item[1])
    )
    lines = [
        f"* Below {100 * BAR:.0f} % of the reference: {named or 'none'}.",
        "* It imitates its reference policies and is not made to be better than they are. Where random actions come "
        "close to the reference, a high score says little.",
        "* It was trained in simulators only. Do not let it act where a wrong action does harm.",
    ]
    if incognito := _read(folder / "results-incognito.json"):
        summary = incognito["summary"]
        lines.append(
            "* Without knowing which of these environments it is in (no stored statistics), it reaches "
            f"{100 * BAR:.0f} % in {summary['at_least_80']} of {summary['n']}."
        )
    if (unseen := _read(folder / "results-unseen.json")) and unseen["environments"]:
        lines.append(_unseen(unseen))
    else:
        lines.append("* Nothing is measured in environments that it was never trained in.")
    return "## Limits\n\n" + "\n".join(lines)


def _unseen(results: Results) -> str:
    summary, failed = results["summary"], len(results.get("failures", {}))
    ranked = sorted(results["environments"].items(), key=lambda item: -item[1]["normalised"])
    scores = ", ".join(f"{name} ({100 * entry['normalised']:.0f} %)" for name, entry in ranked)
    return (
        "* In environments that were held out of its training, it knew their task text only. It reaches "
        f"{100 * BAR:.0f} % in {summary['at_least_80']} of {summary['n']}"
        f"{f' ({failed} more failed)' if failed else ''}, "
        f"interquartile mean {100 * (summary['iqm'] or 0):.0f} %: {scores}."
    )
