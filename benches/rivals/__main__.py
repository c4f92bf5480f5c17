"""Tables of all rivals: `python -m rivals [--workloads W1,W2] [--threads 1,2] [--all-chunks]`."""

import argparse
from itertools import groupby

from . import WORKLOADS, candidates, measure, measure_normals, z_scores


def _winners(workload, all_chunks):
    """The candidates of a workload, with the best chunk of every form unless all are wanted."""
    field = candidates(workload, hand_written=True)
    if all_chunks:
        return field
    winners = []
    for _, group in groupby(field, key=lambda r: (r.library, r.form)):
        group = list(group)
        rates = [rate for _, rate in measure(group, threads=1, seconds=0.03, repeats=3)]
        winners.append(group[rates.index(max(rates))])
    return winners


def _print_workload(name, threads, all_chunks):
    field = _winners(name, all_chunks)
    columns = [measure(field, threads=t) for t in threads]
    heads = "".join(f"{f'{t} thr. clock':>14}{f'{t} thr. cpu':>14}" for t in threads)
    print(f"\n{name}: nets/s\n{'library':8}{'form':24}{'chunk':>6}{heads}   largest |z|")
    for rival, *rates in sorted(zip(field, *columns), key=lambda row: -row[1][1]):
        numbers = "".join(f"{clock:14,.0f}{cpu:14,.0f}" for clock, cpu in rates)
        moments = rival(max(2000, int(0.2 * rates[0][1])), threads=threads[-1])
        scores = ", ".join(f"{key} {z:.1f}" for key, z in z_scores(WORKLOADS[name], moments).items())
        note = " (generator written by hand)" if rival.hand_written else ""
        print(f"{rival.library:8}{rival.form:24}{rival.chunk:6d}{numbers}   {scores}{note}", flush=True)


def main():
    parser = argparse.ArgumentParser(prog="rivals", description=__doc__)
    parser.add_argument("--workloads", default=",".join(WORKLOADS), help="comma-separated")
    parser.add_argument("--threads", default="1,2", help="comma-separated counts")
    parser.add_argument("--all-chunks", action="store_true", help="every chunk size, not the best of each form")
    arguments = parser.parse_args()
    threads = [int(t) for t in arguments.threads.split(",")]
    columns = [measure_normals(threads=t) for t in threads]
    print("normals, M/s\n" + f"{'library':8}{'generator':24}" +
          "".join(f"{f'{t} thr. clock':>14}{f'{t} thr. cpu':>14}" for t in threads) + "   <z^2>, <z^4>")
    for key in columns[0]:
        numbers = "".join(f"{c[key][0] / 1e6:14,.0f}{c[key][1] / 1e6:14,.0f}" for c in columns)
        print(f"{key[0]:8}{key[1]:24}{numbers}   {columns[0][key][2]:.3f}, {columns[0][key][3]:.3f}", flush=True)
    for name in filter(None, arguments.workloads.split(",")):
        _print_workload(name, threads, arguments.all_chunks)


if __name__ == "__main__":
    main()
