"""What report 004's raw outputs say beyond its figures: two counts that its page states.

python docs/experiments/altunina_outputs.py ee559-dl-projects/Proj1/output

The folder is that of the authors' repository, zenhaeus/ee559-dl-projects on GitHub (3168ae0).
Reads the curves of every run: the accuracies after each epoch, on the training and on the test
pairs, and the best of both that the authors kept. Nothing of it is copied into kpairs.
"""

import json
import sys
from pathlib import Path

import torch


def curve(path: Path) -> list[float]:
    """Accuracies in percent after each epoch."""
    return [float(value) for value in torch.load(path, weights_only=True)]


def main(folder: Path) -> None:
    """Print the counts."""
    runs = maxima = sized = collapsed = 0
    for file in sorted(folder.glob("*/*/*_bests.json")):
        for run, best in enumerate(json.loads(file.read_text())["acc_train"]):
            stem = file.name.replace("bests.json", f"{run:02d}_accs_")
            train, test = (curve(file.with_name(f"{stem}{kind}.pt")) for kind in ("train", "val"))
            runs += 1
            maxima += abs(max(train) - best) < 1e-3
            if file.parts[-3] == "net_params":
                sized += 1
                ends = [*train[-2:], *test[-2:]]
                collapsed += len(set(ends[:2])) == len(set(ends[2:])) == 1 and max(ends) < 60
    print(f"the training accuracy kept is the maximum of its curve: {maxima} of {runs} runs")
    print(f"Figure 1: collapsed, constant below 60 % at the end: {collapsed} of {sized} runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
