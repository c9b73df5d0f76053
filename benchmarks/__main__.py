"""python -m benchmarks NAME [--quick] ...: one table, and as the last line one JSON object."""

import argparse
import importlib
import json
import sys

from m3tr.errors import InputError

NAMES = {
    "ablations": "what each part of M3TR is worth, on validation and test of every task",
    "accuracy": "nMSE, SRC and MAE of every row of the results table on a dataset",
    "block": "a training step of the Mamba block, ours and that of transformers",
    "decode_floor": "the features stage beside decoding the same files with PyAV alone",
    "epoch": "seconds of a training epoch of the point process, beside easy-tpp",
    "extract": "videos a second with a ViT-base checkpoint, ours and OpenCV frame by frame",
    "extract_memory": "peak memory of the features stage over 1,000 and 10,000 videos",
    "extract_ray": "feature extraction on one process, on two and on Ray actors",
    "extract_warm": "the features stage on a grown dataset, beside its first run",
    "hawkes_likelihood": "time of the Hawkes log likelihood and its derivatives, beside tick's",
    "oracle_property": "lasso, SCAD and MCP against the estimator that knows the zeros",
    "pipeline": "seconds of every stage on the sample",
    "plot_intensity": "the fitted intensity over a real retweet cascade, as a picture",
    "results": "every row on every task and fold of the protocol; writes docs/results.md",
    "retrieval_allpairs": "neighbours of all items: ours, a Python loop, scikit-learn, faiss",
    "retrieval_append": "adding one percent to a bank, beside building it anew",
    "retrieval_exact": "every neighbour beside those of a brute-force search in float64",
    "retrieval_real": "do retrieved videos turn out like the query, by key and by weights",
    "retrieval_scale": "a search of a million items, ours and exact ones; build, memory, recall",
    "robustness": "both models on cold, young, incomplete and attacked videos",
    "scan": "the selective scan on the CPU: ours, plain torch, C++",
    "tpp_real": "likelihood and residuals of the point process on real event logs",
    "tpp_taxi": "nats per event of the point process on taxi, beside easy-tpp",
}


def main(arguments: list[str]) -> None:
    """Run the benchmark that the first argument names; without one, list them.

    Raises
    ------
    InputError
        Where no benchmark has that name, or the benchmark cannot run.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        print("python -m benchmarks NAME [--quick]; NAME --help shows what else it takes\n")
        for name, summary in NAMES.items():
            print(f"  {name:18} {summary}")
        return
    name, *rest = arguments
    if name not in NAMES:
        raise InputError(f"no benchmark is called {name!r}: name one of {', '.join(NAMES)}")
    module = importlib.import_module(f"benchmarks.{name}")
    parser = argparse.ArgumentParser(f"python -m benchmarks {name}", description=NAMES[name])
    parser.add_argument(
        "--quick", action="store_true", help="smaller settings: shows that it works"
    )
    module.add_arguments(parser)
    figures = module.run(parser.parse_args(rest))
    print(json.dumps(figures))


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
