"""`kpairs study`: a report's experiment, run again."""

import os

import click

from kpairs.cli import options as shared

# Median seconds of an epoch in docs/rows, one training on one core.
_SECONDS = {
    "altunina-best": 0.4,
    "altunina-fastest": 0.18,
    "altunina-figure-1": 0.55,
    "altunina-figure-2": 0.4,
    "chassagne-method-1": 0.22,
    "chassagne-table": 0.11,
    "haidinger-figure-2": 2.09,
    "haidinger-plain": 0.68,
    "kong-dropout": 1.87,
    "kong-table-1": 0.63,
    "kong-table-2": 2.16,
    "kong-table-3": 1.89,
    "piguet-one-softmax": 0.9,
    "piguet-table-2": 0.57,
    "posterior-ablation": 0.35,
    "posterior-final": 0.81,
    "posterior-head": 0.34,
    "posterior-long-final": 0.56,
    "posterior-long-selection": 0.49,
    "posterior-scaling": 0.81,
    "posterior-selection": 0.65,
    "posterior-time": 0.44,
}


@click.command()
@click.argument("name", required=False, shell_complete=shared.study_names)
@click.option("--list", "list_", is_flag=True, help="List the studies.")
@shared.count(
    "--rounds", most=10**6, help="Rounds of each setting.  [default: as many as the report's]"
)
@shared.jobs
@click.option("--quick", is_flag=True, help="A few settings, 2 rounds of 3 epochs: minutes.")
@shared.finished("studies")
@shared.scheduler
@shared.data_dir
@shared.imports
@shared.as_json
def study(name, list_, rounds, jobs, quick, out, scheduler, data_dir, as_json, imports):
    """Run a report's experiment again and show it beside the reported numbers.

    NAME is a study, a report (its number or key: all of its studies) or "all". A study can be
    stopped at any moment; the same command goes on, and never trains a round twice.

    \b
    kpairs study --list
    kpairs study haidinger-figure-2 --rounds 3 --jobs 2
    kpairs study 003 --quick
    """
    shared.import_own(imports)
    from kpairs.cli.tables import console, studies_table, study_table
    from kpairs.studies.catalogue import STUDIES, studies_of

    screen = console()
    if list_:
        screen.print(studies_table(STUDIES.values()))
        return
    if name is None:
        raise click.UsageError("expected a study's name; 'kpairs study --list' lists them")
    studies = [s.quick() if quick else s for s in studies_of(name)]
    from kpairs.studies.compare import compare
    from kpairs.studies.rows import collect, records

    _run(studies, rounds, out, jobs, scheduler, data_dir)
    results = {s.name: collect(s, out, rounds) for s in studies}
    if as_json:
        shared.print_json({name: records(rows) for name, rows in results.items()})
        return
    for s in studies:
        screen.print(study_table(s, compare(s, results[s.name]), results[s.name]))
    screen.print(f"rows in {out}/*.csv; next: kpairs report --rows {out}")


def _run(studies, rounds, out, jobs, scheduler, data_dir):
    """Run what is not finished, with one bar over all of it."""
    from kpairs.cli.progress import follow
    from kpairs.studies.rows import finished
    from kpairs.studies.run import run_jobs

    work = {job.id: job for s in studies for job in s.jobs(rounds)}
    done = {job.id for s in studies for job in finished(s, out, rounds)}
    missing = [job for job in work.values() if job.id not in done]
    if missing:
        seconds = sum(
            job.recipe.fit.epochs * _SECONDS.get(s.name.removesuffix("-quick"), 1)
            for s in studies
            for job in s.jobs(rounds)
            if job.id not in done
        )
        click.echo(f"{len(missing):,} trainings, {_about(seconds / jobs, jobs)}", err=True)
    options = {"processes": jobs, "scheduler": scheduler, "data_root": data_dir}
    names = (
        f"{job.recipe.network.arch} {job.setting}" for job in run_jobs(missing, out, **options)
    )
    follow(names, len(work), out, done=len(done))


def _about(seconds, jobs):
    """Return a time on idle cores as people say it, and how much longer it takes on busy ones."""
    minutes = max(seconds / 60, 1)
    said = f"about {minutes:.0f} min" if minutes < 60 else f"about {minutes / 60:.0f} h"
    said += " on idle cores"
    busy = (os.getloadavg()[0] + jobs) / (os.cpu_count() or 1)  # programs that share a core
    if busy > 1.5:
        said += f"; other programs are running now: about {busy:.0f} times as long"
    return f"{said}; Ctrl-C ends it, the same command goes on" if minutes >= 60 else said
