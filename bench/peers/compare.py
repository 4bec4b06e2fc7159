#!/usr/bin/env python3
"""Attention of rapt and of other libraries beside each other and beside this machine's ceilings.

    compare.py --python main=PYTHON --python zentorch=PYTHON --ceilings LIBRARY --json FILE

PYTHON is an interpreter of a virtual environment with what requirements-NAME.txt lists. Each has
one process, in which all libraries of that environment are loaded together; processes and
implementations take turns, so that one computes at a time. A library that is missing, or cannot run
a case, or computes something else, is reported with the reason.
"""

import argparse
import json
import math
import os
import pathlib
import platform
import signal
import subprocess
import sys

from cases import CASES

HERE = pathlib.Path(__file__).resolve().parent

# What is loaded in which environment, in this order: OpenVINO brings a newer oneTBB than rapt
# needs, and the first one loaded serves both.
MODULES = {
    "main": ("with_openvino", "with_rapt", "with_torch", "with_onnxruntime"),
    "zentorch": ("with_zentorch",),
}

# An implementation is repeated this often, or until its repeats have taken this long.
REPEATS, REPEATS_SECONDS = 5, 2.0

# Cores beyond its threads that an implementation may keep busy: its last repeat's end counts too.
CORES_TOLERANCE = 0.1


class Ended(Exception):
    """A worker has ended instead of answering."""


class Worker:
    """A process of worker.py, started again after it ended."""

    def __init__(self, environment, args, threads):
        self.environment, self.process = environment, None
        self.command = [args.python[environment], HERE / "worker.py", str(threads), args.ceilings]
        self.command += args.modules or MODULES[environment]
        pools = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        self.environ = os.environ | {name: str(threads) for name in pools}
        self.environ["PYTHONDONTWRITEBYTECODE"] = "1"

    def ask(self, do, **request):
        if self.process is None:
            pipe = subprocess.PIPE
            self.process = subprocess.Popen(
                self.command, env=self.environ, stdin=pipe, stdout=pipe, text=True
            )
        try:
            self.process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise Ended(self.why_it_ended())
        return json.loads(answer)

    def why_it_ended(self):
        code = self.process.wait()
        self.process = None
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return f"the process ended: {how}"

    def stop(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def log(text):
    print(text, file=sys.stderr, flush=True)


class Measuring:
    """All cases on some threads."""

    def __init__(self, args, threads):
        self.args, self.threads = args, threads
        self.workers = [Worker(name, args, threads) for name in args.python]
        self.versions, self.missing = {}, {}
        for worker in self.workers:
            found = worker.ask("hello")
            self.versions |= found["versions"]
            self.missing |= found["missing"]
        self.ceilings = {"fma": 0.0, "read": 0.0}

    def run(self):
        try:
            cases = [self.measure(name) for name in self.args.cases]
        finally:
            for worker in self.workers:
                worker.stop()
        return {"threads": self.threads, "ceilings": self.ceilings, "cases": cases}

    def measure(self, name):
        log(f"{name}, {self.threads} thread(s)")
        case = CASES[name].cut() if self.args.smoke else CASES[name]
        copies = 2 if self.args.smoke else case.copies
        self.start = {"do": "start", "case": name, "cut": self.args.smoke, "copies": copies}
        self.found = {}
        for worker in self.workers:
            self.prepare(worker)
        self.take_repeats()
        for found in self.found.values():
            del found["worker"], found["spent"]
        work = {"flops": case.flops, "bytes": case.bytes}
        return {"name": name, **work, "implementations": self.found}

    def prepare(self, worker):
        for one in worker.ask(**self.start)["implementations"]:
            answer = self.asked(worker, "prepare", one)
            self.found[one] = {"worker": worker, "spent": 0.0, "repeats": 0, **answer}
            log(f"  {one}: {answer.get('failure', 'ready')}")

    def asked(self, worker, do, one):
        """The answer, or a failure; then the others of that process are prepared again."""
        try:
            return worker.ask(do, implementation=one)
        except Ended as ended:
            worker.ask(**self.start)
            for other in self.ready(worker):
                if other != one:
                    worker.ask("prepare", implementation=other)
            return {"failure": str(ended)}

    def ready(self, worker=None):
        return [
            name
            for name, found in self.found.items()
            if "failure" not in found and worker in (None, found["worker"])
        ]

    def take_repeats(self):
        before = self.renewed_ceilings()
        repeats = 1 if self.args.smoke else REPEATS
        for turn in range(repeats):
            taken = {name: self.repeat(name) for name in self.due(turn)}
            after = self.renewed_ceilings()
            around = {key: max(before[key], after[key]) for key in before}
            for name, repeat in taken.items():
                self.keep(self.found[name], repeat, around)
            before = after

    def due(self, turn):
        """Those that take part in a turn, another one first each time."""
        names = self.ready()
        names = names[turn:] + names[:turn]
        return [n for n in names if self.found[n]["spent"] < REPEATS_SECONDS]

    def repeat(self, name):
        return self.asked(self.found[name]["worker"], "repeat", name)

    def keep(self, found, repeat, around):
        if "failure" in repeat:
            found |= repeat
            return
        if repeat["cores"] > self.threads + CORES_TOLERANCE:
            busy = f"{repeat['cores']:.2f} cores busy with {self.threads} thread(s)"
            found["failure"] = f"kept {busy}"
            return
        found["repeats"] += 1
        found["spent"] += repeat["seconds"]
        if repeat["seconds"] < found.get("seconds", math.inf):
            found |= {**repeat, "ceilings": around}

    def renewed_ceilings(self):
        latest = self.workers[0].ask("ceilings")
        self.ceilings = {key: max(self.ceilings[key], latest[key]) for key in latest}
        return latest


def measure_memory(args, run):
    """Adds to a run what each implementation takes: in processes that have computed nothing yet."""
    for environment in args.python:
        worker = Worker(environment, args, run["threads"])
        for case in run["cases"]:
            log(f"memory of {case['name']}")
            start = {"case": case["name"], "cut": args.smoke, "copies": 1}
            for one in worker.ask("start", **start)["implementations"]:
                found = case["implementations"][one]
                if "failure" not in found:
                    answer = worker.ask("memory", implementation=one)
                    why_not = answer.pop("failure", None)
                    found |= answer or {"memory_failure": why_not}
        worker.stop()


def cpu_model():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", action="append", required=True, metavar="NAME=PYTHON")
    parser.add_argument("--ceilings", default="", help="librapt_ceilings.so")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--modules", nargs="+", help="loaded instead of those of the environment")
    parser.add_argument("--smoke", action="store_true", help="few tokens, one repeat")
    parser.add_argument("--json", type=pathlib.Path, required=True, help="file of the results")
    args = parser.parse_args()
    args.python = dict(pair.split("=", 1) for pair in args.python)
    return args


def main():
    args = parse_arguments()
    runs = []
    for threads in args.threads:
        measuring = Measuring(args, threads)
        runs.append(measuring.run())
    measure_memory(args, runs[0])
    machine = {"cpu": cpu_model(), "cores": len(os.sched_getaffinity(0))}
    results = {"machine": machine, "versions": measuring.versions, "missing": measuring.missing}
    args.json.write_text(json.dumps(results | {"runs": runs}, indent=1) + "\n")


if __name__ == "__main__":
    main()
